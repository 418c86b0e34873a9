package core

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"time"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/pool"
	"passenger/go/internal/spawn"
)

// generation is one loading of the app with its processes.
type generation struct {
	*dispatch.Generation
	state     pool.GenerationState
	origin    bootOrigin
	rolling   bool             // takes over from the former one worker by worker
	wanted    int              // workers that are to be ready before it takes over
	preloader *spawn.Preloader // nil when there is none at present, and with direct spawning
	loaded    bool             // the preloader can fork
	known     bool             // facts are there
	facts     spawn.AppFacts   // what the app has said about itself
	threads   int              // request threads of each worker
	lastSpawn time.Time        // or when the app was loaded
	idle      bool             // the preloader has been told to leave
	workers   map[int]*worker
	deadline  *time.Timer     // of the boot, later of the drain
	awaited   []chan struct{} // requests for code that is loaded in this generation
}

// bootOrigin is why a generation is booted.
type bootOrigin uint8

const (
	bootFirst   bootOrigin = iota // the server starts
	bootAgain                     // the boot before has failed
	bootRestart                   // somebody wants new code
	bootFresh                     // each request wants new code (always_restart.txt)
	bootRefork                    // from a worker of the one that serves (refork_after)
)

// spareSlots is how many workers more than the pool's size a scoreboard has
// room for: dead ones keep their slots for a moment, and leaving ones until
// they have finished.
const spareSlots = 8

// roomyThreads is how many request threads for each worker a scoreboard has
// room for if the options say fewer: the app may ask for more when it has been
// loaded (advertised_concurrency_level).
const roomyThreads = 32

func newErrorID() string {
	var b [4]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// bootError describes a failure that no exception of the app stands for.
func bootError(class, message string) *dispatch.BootError {
	return &dispatch.BootError{ID: newErrorID(), Class: class, Message: message}
}

// newGeneration makes the next generation, without any process.
func (s *supervisor) newGeneration(origin bootOrigin) (*generation, error) {
	s.generations++
	workers := s.policy.Max + s.policy.Surge + spareSlots
	if s.auto != nil { // the maximum may be low just now
		workers += s.auto.ByCPU()
	}
	dg, err := s.dispatcher.NewGeneration(s.generations, workers*max(s.options.Threads(), roomyThreads))
	if err != nil {
		return nil, err
	}
	g := &generation{Generation: dg, origin: origin, threads: s.options.Threads(), workers: map[int]*worker{}}
	g.rolling = origin == bootRefork || origin == bootRestart && s.restarts.method == RestartRolling
	g.wanted = 1
	if s.current != nil && origin != bootFresh {
		g.wanted = s.policy.First(s.scaler.Target(), g.rolling)
	}
	if s.current == nil {
		g.wanted = s.scaler.Target()
	}
	return g, nil
}

// boot starts the next generation.
func (s *supervisor) boot(origin bootOrigin) {
	g, err := s.newGeneration(origin)
	if err != nil {
		s.noBoot(bootError("SpawnError", err.Error()))
		return
	}
	s.next = g
	s.restarts.begun(g)
	if s.directly(g) {
		s.balance()
		return
	}
	s.startPreloader(g)
}

// directly reports whether each worker of g loads the app itself. The first
// generation under a Rack handler comes from an app that is loaded already.
func (s *supervisor) directly(g *generation) bool { return s.app.Direct && !s.adopts(g) }

func (s *supervisor) adopts(g *generation) bool {
	return s.options.PreloaderFD >= 0 && g.Number() == 1 && !s.announced
}

// startPreloader runs a preloader for g: the one that was forked from the
// booted app, for the first generation under a Rack handler, else a new one.
func (s *supervisor) startPreloader(g *generation) {
	var err error
	g.loaded = false
	if s.adopts(g) && g.preloader == nil && len(g.workers) == 0 {
		file := os.NewFile(uintptr(s.options.PreloaderFD), "preloader control")
		app := s.app
		app.Direct = false
		g.preloader, err = spawn.Adopt(app, g.Generation, file, s.options.PreloaderPID, s.report)
	} else {
		g.preloader, err = spawn.Start(s.app, g.Generation, s.report)
	}
	s.preloaderStarted(g, err)
}

// preloaderStarted waits for what the preloader of g has to say.
func (s *supervisor) preloaderStarted(g *generation, err error) {
	if err != nil {
		g.preloader = nil
		s.bootFailed(g, bootError("SpawnError", err.Error()))
		return
	}
	g.deadline = time.AfterFunc(s.options.StartTimeout, func() { s.post(bootTimedOut{g}) })
}

// byPreloader finds whose preloader it is: a generation's or, with direct
// spawning, a worker's.
func (s *supervisor) byPreloader(p *spawn.Preloader) (*generation, *worker) {
	for _, g := range s.all() {
		if g.preloader == p {
			return g, nil
		}
		for _, w := range g.workers {
			if w.loader == p {
				return g, w
			}
		}
	}
	return nil, nil
}

// preloaderLoaded: the preloader can fork now, or become a worker.
func (s *supervisor) preloaderLoaded(e spawn.Loaded) {
	g, w := s.byPreloader(e.Preloader)
	if g == nil {
		return
	}
	s.learn(g, e.App)
	if w != nil {
		s.becomeWorker(w)
		return
	}
	g.loaded, g.lastSpawn = true, time.Now()
	if g.deadline != nil && g.state != pool.GenerationDraining {
		g.deadline.Stop()
	}
	s.balance()
}

// learn takes in what the app says about itself.
func (s *supervisor) learn(g *generation, facts spawn.AppFacts) {
	g.facts = facts
	if g.known {
		return
	}
	g.known = true
	if facts.Concurrency > 0 && s.options.ForceMaxConcurrentRequests <= 0 {
		g.threads = min(facts.Concurrency, max(s.options.Threads(), roomyThreads))
		if g.threads < facts.Concurrency {
			s.log.Warn("the application advertises more concurrency than a process is given; thread_count can be raised",
				"advertised", facts.Concurrency, "given", g.threads)
		}
	}
}

func (s *supervisor) preloaderFailed(p *spawn.Preloader, err *dispatch.BootError) {
	switch g, w := s.byPreloader(p); {
	case w != nil:
		w.reason = err // its end follows
	case g != nil:
		s.bootFailed(g, err)
	}
}

// preloaderEnded: its workers live on; a new one is started when one is needed.
func (s *supervisor) preloaderEnded(p *spawn.Preloader, status string) {
	g, w := s.byPreloader(p)
	switch {
	case w != nil:
		w.loader = nil
		s.workerGone(w, status)
	case g != nil:
		s.preloaderGone(g, status)
	}
}

func (s *supervisor) preloaderGone(g *generation, status string) {
	g.preloader = nil
	if g.state == pool.GenerationDraining {
		s.closeIfEmpty(g)
		return
	}
	if g.deadline != nil {
		g.deadline.Stop()
	}
	if !g.loaded && !g.idle {
		s.bootFailed(g, bootError("PreloaderDied", "the process that loads the application ended before it had loaded it: "+status))
		return
	}
	g.loaded = false
	if !g.idle {
		s.log.Warn("preloader has ended", "generation", g.Number(), "status", status)
	}
	g.idle = false
	s.balance()
}

// dropIdlePreloader gives the memory of a preloader back that has had nothing
// to do for long (Passenger's max_preloader_idle_time).
func (s *supervisor) dropIdlePreloader(now time.Time) {
	g := s.current
	if g == nil || g.preloader == nil || !g.loaded || g.idle || s.options.PreloaderIdleTime == 0 {
		return
	}
	if now.Sub(g.lastSpawn) >= s.options.PreloaderIdleTime {
		s.log.Info("preloader is idle and leaves", "generation", g.Number())
		g.closePreloader()
	}
}

// closePreloader has the preloader leave; its workers stay.
func (g *generation) closePreloader() {
	if g.preloader != nil && !g.idle {
		g.idle = true
		g.preloader.Close()
	}
}

func (g *generation) discardPreloader() {
	if g.preloader != nil {
		g.preloader.Kill()
	}
}

// count is how many of its workers are in a state.
func (g *generation) count(state pool.WorkerState) int {
	n := 0
	for _, w := range g.workers {
		if w.state == state {
			n++
		}
	}
	return n
}

// staying is how many of its workers are not on their way out.
func (g *generation) staying() int {
	n := 0
	for _, w := range g.workers {
		if w.state < pool.WorkerLeaving {
			n++
		}
	}
	return n
}

// drain has a generation finish what it has begun.
func (s *supervisor) drain(g *generation) {
	if err := pool.Move(&g.state, pool.GenerationDraining); err != nil {
		s.log.Error("generation cannot drain", "generation", g.Number(), "error", err)
		return
	}
	delete(s.retiring, g)
	s.draining[g] = true
	if err := g.Drain(); err != nil {
		s.log.Error("application processes cannot be told to leave", "generation", g.Number(), "error", err)
	}
	for _, w := range g.workers {
		s.leave(w)
	}
	if g.deadline != nil {
		g.deadline.Stop()
	}
	g.deadline = time.AfterFunc(s.options.ShutdownTimeout, func() { s.post(drainTimedOut{g}) })
	if g.preloader != nil && !g.loaded {
		g.preloader.Kill() // still loading code that nobody will run
	}
	s.closeIfEmpty(g)
}

// closeIfEmpty frees a draining generation when its last worker has gone.
func (s *supervisor) closeIfEmpty(g *generation) {
	if g.state != pool.GenerationDraining || len(g.workers) > 0 {
		return
	}
	if g.preloader != nil {
		g.preloader.Close() // it leaves; preloaderGone comes back here
		return
	}
	if err := pool.Move(&g.state, pool.GenerationClosed); err != nil {
		return
	}
	g.deadline.Stop()
	go func() {
		if err := g.Close(); err != nil {
			s.log.Error("closing a generation", "generation", g.Number(), "error", err)
		}
		s.post(closed{g})
	}()
}

func (s *supervisor) killAll(g *generation, why string) {
	for _, w := range g.workers {
		s.log.Warn("killing an application process", "worker", w.pid(), "reason", why)
		s.kill(w)
	}
	g.discardPreloader()
}

// bootFailed: g will never serve, or cannot replace its workers.
func (s *supervisor) bootFailed(g *generation, err *dispatch.BootError) {
	s.log.Error("the application could not be started", "error_id", err.ID, "class", err.Class, "message", err.Message)
	s.noteFailure(g.Number(), err)
	if g.deadline != nil {
		g.deadline.Stop()
	}
	switch g {
	case s.next:
		s.next = nil
	case s.current:
		g.discardPreloader()
		g.preloader, g.loaded = nil, false // its end is of no interest any more
		if g.staying() > 0 {
			s.brake.Failed(time.Now())
			return // it still serves
		}
		s.current = nil
	default:
		return
	}
	g.discardPreloader()
	s.drain(g)
	if s.current == nil && len(s.retiring) > 0 {
		s.fallBack()
	}
	s.restarts.ended(g)
	switch {
	case s.current == nil:
		s.noBoot(err)
	case !s.options.ResistDeploymentErrors && g.origin == bootRestart:
		s.log.Error("the former application processes leave (resist_deployment_errors is off)", "error_id", err.ID)
		s.retireAll()
		s.noBoot(err)
	default:
		s.log.Error("restart given up: the former application processes go on serving", "error_id", err.ID)
		s.restartAgain()
	}
}

// retireAll ends everything that serves.
func (s *supervisor) retireAll() {
	serving := []*generation{s.current}
	for g := range s.retiring {
		serving = append(serving, g)
	}
	s.current = nil
	for _, g := range serving {
		s.drain(g)
	}
}

// fallBack makes the latest generation that was being replaced the serving one
// again, when its successor is no more.
func (s *supervisor) fallBack() {
	for g := range s.retiring {
		if s.current == nil || g.Number() > s.current.Number() {
			s.current = g
		}
	}
	delete(s.retiring, s.current)
	if err := pool.Move(&s.current.state, pool.GenerationServing); err != nil {
		s.log.Error("generation cannot serve again", "generation", s.current.Number(), "error", err)
	}
	for _, w := range s.current.workers {
		if w.retiring == pool.ReasonRestart {
			w.retiring = ""
		}
	}
	s.log.Warn("the former application processes take over again", "generation", s.current.Number())
}

// noBoot tells every client why, and tries again later.
func (s *supervisor) noBoot(err *dispatch.BootError) {
	s.failures++
	s.noteFailure(s.generations, err)
	s.broken.Store(&failure{err: err, at: time.Now()})
	s.dispatcher.Refuse(err)
	s.notify.send("boot_error " + err.ID)
	if s.retry != nil {
		s.retry.Stop()
	}
	delay := bootBackoff.After(s.failures)
	if s.restarts.again {
		s.restarts.again = false
		delay = 0
	}
	s.retry = time.AfterFunc(delay, func() { s.post(retryDue{}) })
}
