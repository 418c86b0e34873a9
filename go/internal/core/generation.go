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
	preloader *spawn.Preloader // nil when there is none at present
	loaded    bool             // the preloader can fork
	facts     spawn.AppFacts   // what the app has said about itself
	lastSpawn time.Time        // or when the app was loaded
	idle      bool             // the preloader has been told to leave
	workers   map[int]*worker
	floor     int
	deadline  *time.Timer // of the boot, later of the drain
}

// worker is an application process.
type worker struct {
	*spawn.Worker
	generation *generation
	seat       *dispatch.Seat
	state      pool.WorkerState
	status     string              // how it ended, if the preloader has said so
	reason     *dispatch.BootError // why it could not start
	deadline   *time.Timer
}

// spareSlots is how many workers more than the pool's size a scoreboard has
// room for: dead ones keep their slots for a moment.
const spareSlots = 8

func newErrorID() string {
	var b [4]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// bootError describes a failure that no exception of the app stands for.
func bootError(class, message string) *dispatch.BootError {
	return &dispatch.BootError{ID: newErrorID(), Class: class, Message: message}
}

// boot starts the next generation.
func (s *supervisor) boot() {
	s.generations++
	capacity := (s.policy.Max + spareSlots) * s.options.ThreadCount
	dg, err := s.dispatcher.NewGeneration(s.generations, capacity)
	if err != nil {
		s.noBoot(bootError("SpawnError", err.Error()))
		return
	}
	g := &generation{Generation: dg, workers: map[int]*worker{}}
	if s.current != nil {
		g.floor = len(s.current.workers)
	}
	s.next = g
	s.startPreloader(g)
}

// startPreloader runs a preloader for g: the one that was forked from the
// booted app, for the first generation under a Rack handler, else a new one.
func (s *supervisor) startPreloader(g *generation) {
	var err error
	g.loaded = false
	if s.options.PreloaderFD >= 0 && g.Number() == 1 && g.preloader == nil && len(g.workers) == 0 && !s.announced {
		file := os.NewFile(uintptr(s.options.PreloaderFD), "preloader control")
		g.preloader, err = spawn.Adopt(s.app, g.Generation, file, s.options.PreloaderPID, s.report)
	} else {
		g.preloader, err = spawn.Start(s.app, g.Generation, s.report)
	}
	if err != nil {
		g.preloader = nil
		s.bootFailed(g, bootError("SpawnError", err.Error()))
		return
	}
	g.deadline = time.AfterFunc(s.options.StartTimeout, func() { s.post(bootTimedOut{g}) })
}

// loaded: the preloader can fork now.
func (s *supervisor) loaded(g *generation) {
	g.loaded, g.lastSpawn = true, time.Now()
	if g.deadline != nil {
		g.deadline.Stop()
	}
	if g.state == pool.GenerationDraining {
		return
	}
	s.fill(g)
}

// fill starts as many workers as the policy wants.
func (s *supervisor) fill(g *generation) {
	if s.stopping || g.state == pool.GenerationDraining || g.state == pool.GenerationClosed {
		return
	}
	view := pool.View{Floor: g.floor}
	for _, w := range g.workers {
		switch w.state {
		case pool.WorkerReady:
			view.Ready++
		case pool.WorkerStarting:
			view.Starting++
		}
	}
	view.Short = g == s.current && s.dispatcher.Short()
	if g == s.current {
		s.growable.Store(view.Starting == 0 && view.Ready < s.policy.Max)
	}
	n := s.policy.ToStart(view)
	if n == 0 {
		return
	}
	if g.preloader == nil {
		s.startPreloader(g)
		return
	}
	if !g.loaded || g.idle {
		return // it comes back here when loaded, or gone
	}
	for range n {
		if !s.startWorker(g) {
			return
		}
	}
}

func (s *supervisor) startWorker(g *generation) bool {
	s.spawned++
	number := s.spawned
	seat, peers, err := g.NewSeat(s.options.ThreadCount, func() { s.post(slotBroken{number}) })
	if err != nil {
		s.log.Error("cannot start an application process", "error", err)
		return false
	}
	process, err := g.preloader.Spawn(number, seat, peers)
	if err != nil {
		s.log.Error("cannot start an application process", "error", err)
		seat.Close()
		g.preloader.Kill()
		return false
	}
	w := &worker{Worker: process, generation: g, seat: seat}
	w.deadline = time.AfterFunc(s.options.StartTimeout, func() { s.post(startTimedOut{number}) })
	g.workers[number], s.workers[number] = w, w
	g.lastSpawn = time.Now()
	return true
}

// workerReady: the worker takes requests. The first one of a generation makes
// it the serving one.
func (s *supervisor) workerReady(w *worker, pid int) {
	w.deadline.Stop()
	if err := pool.Move(&w.state, pool.WorkerReady); err != nil {
		return // it is leaving already
	}
	w.seat.Ready()
	s.failures = 0
	s.noteReady(w.generation.Number())
	s.log.Info("application process ready", "worker", pid, "generation", w.generation.Number())
	if g := w.generation; g == s.next {
		s.promote(g)
	}
	s.fill(w.generation)
}

func (s *supervisor) promote(g *generation) {
	if err := pool.Move(&g.state, pool.GenerationServing); err != nil {
		s.log.Error("generation cannot serve", "generation", g.Number(), "error", err)
		return
	}
	old := s.current
	s.current, s.next = g, nil
	s.failures = 0
	s.broken.Store(nil)
	s.dispatcher.Serve(g.Generation)
	s.serving(g.facts) // after that, so that nothing of the old one is kept from now on
	if old != nil {
		s.log.Info("new application processes have taken over", "generation", g.Number())
		s.drain(old)
	}
	if !s.announced {
		s.announced = true
		s.notify.send("ready")
	}
	if s.restartNext {
		s.restartNext = false
		s.restartNow("restart.txt changed during the last restart")
	}
}

// drain has a generation finish what it has begun.
func (s *supervisor) drain(g *generation) {
	if err := pool.Move(&g.state, pool.GenerationDraining); err != nil {
		s.log.Error("generation cannot drain", "generation", g.Number(), "error", err)
		return
	}
	s.draining[g] = true
	if err := g.Drain(); err != nil {
		s.log.Error("application processes cannot be told to leave", "generation", g.Number(), "error", err)
	}
	for _, w := range g.workers {
		if w.state == pool.WorkerReady {
			w.seat.Leaving()
		}
		if w.state < pool.WorkerLeaving {
			w.state = pool.WorkerLeaving
			w.deadline.Stop()
			if err := w.Stop(); err != nil {
				s.kill(w)
			}
		}
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

func (s *supervisor) kill(w *worker) {
	if err := w.Kill(); err != nil {
		s.log.Error("application process cannot be killed", "worker", w.PID(), "error", err)
	}
}

func (s *supervisor) killAll(g *generation, why string) {
	for _, w := range g.workers {
		s.log.Warn("killing an application process", "worker", w.PID(), "reason", why)
		s.kill(w)
	}
	if g.preloader != nil {
		g.preloader.Kill()
	}
}

// workerGone: a process has ended, as told or by itself.
func (s *supervisor) workerGone(w *worker) {
	g, state := w.generation, w.state
	w.deadline.Stop()
	w.state = pool.WorkerGone
	delete(s.workers, w.Number)
	delete(g.workers, w.Number)
	w.seat.Close()
	switch {
	case g.state == pool.GenerationDraining:
		s.closeIfEmpty(g)
	case state == pool.WorkerStarting:
		reason := w.reason
		if reason == nil {
			reason = bootError("WorkerDied", "the application process ended while it was starting")
		}
		if len(g.workers) == 0 {
			s.bootFailed(g, reason)
		} else {
			s.failures++
			s.noteFailure(g.Number(), reason)
			s.log.Error("application process could not start", "generation", g.Number(), "error", reason)
			time.AfterFunc(bootBackoff.After(s.failures), func() { s.post(pressureFelt{}) })
		}
	default:
		s.mourn(w)
		s.fill(g)
	}
}

// obituaryPatience is how long the log entry about a dead process waits for
// the preloader to say how it ended.
const obituaryPatience = time.Second

// mourn logs the unexpected end of a process. Its preloader, which reaps it,
// says how it ended; mostly that comes a moment later than the end is seen.
func (s *supervisor) mourn(w *worker) {
	if w.status == "" && w.generation.preloader != nil {
		s.unmourned[w.Number] = w
		time.AfterFunc(obituaryPatience, func() { s.post(spawn.Exited{Worker: w.Number, Status: "unknown"}) })
		return
	}
	delete(s.unmourned, w.Number)
	s.log.Warn("application process has ended, another one takes its place", "worker", w.PID(), "status", w.status)
}

// preloaderGone: its workers live on; a new one is started when one is needed.
func (s *supervisor) preloaderGone(g *generation, status string) {
	g.preloader = nil
	if g.deadline != nil && g.state != pool.GenerationDraining {
		g.deadline.Stop()
	}
	if g.state == pool.GenerationDraining {
		s.closeIfEmpty(g)
		return
	}
	if !g.loaded {
		s.bootFailed(g, bootError("PreloaderDied", "the process that loads the application ended before it had loaded it: "+status))
		return
	}
	g.loaded = false
	if !g.idle {
		s.log.Warn("preloader has ended", "generation", g.Number(), "status", status)
	}
	g.idle = false
	s.fill(g)
}

// dropIdlePreloader gives the memory of a preloader back that has had nothing
// to do for long (Passenger's max_preloader_idle_time).
func (s *supervisor) dropIdlePreloader() {
	g := s.current
	if g == nil || g.preloader == nil || !g.loaded || g.idle || s.options.PreloaderIdleTime == 0 {
		return
	}
	if time.Since(g.lastSpawn) >= s.options.PreloaderIdleTime {
		g.idle = true
		s.log.Info("preloader is idle and leaves", "generation", g.Number())
		g.preloader.Close()
	}
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
		if len(g.workers) > 0 {
			g.discardPreloader()
			return // it still serves
		}
		s.current = nil
	default:
		return
	}
	g.discardPreloader()
	s.drain(g)
	if s.current != nil {
		s.log.Error("restart given up: the former application processes go on serving", "error_id", err.ID)
		if s.restartNext {
			s.restartNext = false
			s.restartNow("restart.txt changed during the failed restart")
		}
		return
	}
	s.noBoot(err)
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
	if s.restartNext {
		s.restartNext = false
		delay = 0
	}
	s.retry = time.AfterFunc(delay, func() { s.post(retryDue{}) })
}

func (g *generation) discardPreloader() {
	if g.preloader != nil {
		g.preloader.Kill()
	}
}
