package core

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"passenger/go/internal/config"
	"passenger/go/internal/dispatch"
	"passenger/go/internal/link"
	"passenger/go/internal/pool"
	"passenger/go/internal/spawn"
	"passenger/go/internal/tunnel"
)

// supervisor owns the application processes. One goroutine (run) holds all of
// its state; everything that happens reaches it as an event, and what is to be
// done about the number of processes is package pool's to say (see balance).
type supervisor struct {
	options    config.Options
	app        spawn.App
	dispatcher *dispatch.Dispatcher
	tunnels    *tunnel.Set // connections that the app has taken over
	log        *slog.Logger
	notify     *notifier

	events  chan any
	ended   chan struct{} // closed when run has returned
	started bool

	broken   atomic.Pointer[failure] // why the app cannot be served at present
	growable atomic.Bool             // there may be more workers, and nobody has asked for one yet
	everNew  atomic.Bool             // each request is for newly loaded code (always_restart.txt)

	// Held by run.
	current   *generation // serves, and gets new workers
	next      *generation // boots to take over
	retiring  map[*generation]bool
	draining  map[*generation]bool
	workers   map[int]*worker
	unmourned map[int]*worker // have ended, and nobody has said how

	policy pool.Policy
	scaler pool.Scaler
	brake  pool.Brake
	limits pool.Limits
	auto   *pool.Auto // nil: the size of the pool is fixed

	generations int
	spawned     int
	failures    int // boots in a row that came to nothing
	lastFailure *BootFailure
	retry       *time.Timer
	released    *time.Timer // of the brake
	restarts    restarts
	refork      refork
	outOfBand   outOfBand
	backtraces  backtraces
	sampling    bool
	sampled     time.Time
	heldSaid    time.Time // when the log said that streams hold all threads
	stopping    bool
	announced   bool
	watch       restartWatch

	// serving is told what the app has said about itself when it begins to serve.
	serving func(spawn.AppFacts)
}

// failure is the state in which the app does not boot.
type failure struct {
	err *dispatch.BootError
	at  time.Time
}

const (
	// impatience is how soon after a failure a request makes the engine try
	// again, where the error page is for the developer who mends the error.
	impatience = time.Second
	// tickInterval is the distance at which restart.txt, limits and idleness are looked at.
	tickInterval = 500 * time.Millisecond
	// spawnsAtOnce is how many workers may be starting because requests wait:
	// more would take the processors from those that work on the requests.
	spawnsAtOnce = 2
)

// What the distance between attempts is that keep failing: to boot the app, and
// to start a worker of an app that has booted.
var (
	bootBackoff   = pool.Backoff{First: time.Second, Longest: 30 * time.Second}
	workerBackoff = pool.Backoff{First: time.Second, Longest: 30 * time.Second}
)

// What counts as a worker that dies as soon as it serves.
const (
	freeDeaths    = 3
	lastingWorker = 5 * time.Second
	// probation is how long a worker must have been ready, if it has not finished
	// a request, before another one leaves because of it. One that dies at once
	// has died by then.
	probation = 250 * time.Millisecond
)

// Events of the supervisor's own.
type (
	pressureFelt  struct{}
	restartWanted struct{ why, method string }
	retryDue      struct{}
	brakeReleased struct{}
	bootTimedOut  struct{ generation *generation }
	startTimedOut struct{ worker int }
	leaveTimedOut struct{ worker int }
	slotBroken    struct{ worker int }
	limitReached  struct{ worker int }
	probationOver struct{}
	drainTimedOut struct{ generation *generation }
	closed        struct{ generation *generation }
	stopWanted    struct{ ctx context.Context }
	stopExpired   struct{}
)

func newSupervisor(o config.Options, d *dispatch.Dispatcher, tunnels *tunnel.Set, output *os.File, log *slog.Logger, notify *notifier) *supervisor {
	s := &supervisor{
		options: o,
		app: spawn.App{
			Ruby: o.Ruby, Script: o.Preloader, Root: o.AppRoot, StartupFile: o.StartupFile, Environment: o.Environment,
			Threads: o.Threads(), Direct: o.SpawnMethod == config.SpawnDirect, ServerSoftware: o.ServerSoftware, LogToStdout: o.LogToStdout,
			XAccelMapping: mappingHeader(o.XAccelMappings), Environ: o.Environ, Output: output,
		},
		policy:     pool.Policy{Max: o.MaxPoolSize, Min: o.MinInstances, Surge: max(o.RollingRestartSize, 1)},
		brake:      pool.Brake{Backoff: workerBackoff, Free: freeDeaths, Lasting: lastingWorker},
		limits:     pool.Limits{Requests: o.MaxRequests, Memory: o.MemoryLimit, HardMemory: o.HardMemoryLimit},
		dispatcher: d,
		tunnels:    tunnels,
		log:        log,
		notify:     notify,
		events:     make(chan any, 256),
		ended:      make(chan struct{}),
		retiring:   map[*generation]bool{},
		draining:   map[*generation]bool{},
		workers:    map[int]*worker{},
		unmourned:  map[int]*worker{},
		watch:      newRestartWatch(o.RestartDir),
	}
	if o.MaxPoolSize == config.PoolSizeAuto {
		s.sizeByMachine()
	}
	s.scaler = pool.Scaler{Policy: s.policy, Threads: o.Threads(), Idle: o.PoolIdleTime, Most: spawnsAtOnce}
	s.scaler.Begin(time.Now())
	s.everNew.Store(s.watch.always())
	return s
}

// post delivers an event; after the end it is dropped.
func (s *supervisor) post(e any) {
	select {
	case s.events <- e:
	case <-s.ended:
	}
}

// hint delivers an event that is not needed: without it, what it is about is
// found out at the next tick. It never waits.
func (s *supervisor) hint(e any) {
	select {
	case s.events <- e:
	default:
	}
}

func (s *supervisor) report(e spawn.Event) { s.post(e) }

// pressure says that requests wait. It is called on the request path: when
// the supervisor is busy it will see for itself.
func (s *supervisor) pressure() {
	if s.growable.Load() && s.growable.CompareAndSwap(true, false) {
		select {
		case s.events <- pressureFelt{}:
		default:
			s.growable.Store(true)
		}
	}
}

// restart loads the app anew; method is one of the Restart constants, "" for
// what the options say.
func (s *supervisor) restart(why, method string) { s.post(restartWanted{why, method}) }

// refusal is why a request cannot be served, nil if it can, or may be soon.
func (s *supervisor) refusal() error {
	f := s.broken.Load()
	if f == nil {
		return nil
	}
	if s.options.FriendlyErrorPages && time.Since(f.at) >= impatience && s.broken.CompareAndSwap(f, nil) {
		s.dispatcher.Accept()
		s.post(retryDue{})
		return nil
	}
	return f.err
}

func (s *supervisor) start() {
	s.started = true
	go s.run()
}

// stop ends all processes and returns when they are gone. When ctx ends
// before that they are killed.
func (s *supervisor) stop(ctx context.Context) {
	if !s.started {
		return
	}
	s.post(stopWanted{ctx})
	select {
	case <-ctx.Done():
		s.post(stopExpired{})
	case <-s.ended:
	}
	<-s.ended
}

func (s *supervisor) run() {
	defer close(s.ended)
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	s.boot(bootFirst)
	for {
		select {
		case e := <-s.events:
			s.handle(e)
		case now := <-ticker.C:
			s.tick(now)
		}
		if s.stopping && s.current == nil && s.next == nil && len(s.retiring) == 0 && len(s.draining) == 0 {
			return
		}
	}
}

// tick does what no event tells.
func (s *supervisor) tick(now time.Time) {
	s.reapStrangers()
	s.farewells(now)
	s.watchRequestTimes(now)
	s.watchStreams(now)
	if s.stopping {
		return
	}
	s.everNew.Store(s.watch.always())
	if s.watch.changed() {
		s.restartNow("restart.txt has changed", "")
	}
	s.scaler.Observe(now, s.dispatcher.TakePeak())
	s.dropIdlePreloader(now)
	s.enforceLimits(now)
	s.releaseBrake(now)
	s.considerRefork(now)
	s.grow()
}

// handle is the one place where events change the state.
func (s *supervisor) handle(event any) {
	switch e := event.(type) {
	case spawn.Loaded:
		s.preloaderLoaded(e)
	case spawn.BootFailed:
		s.preloaderFailed(e.Preloader, e.Err)
	case spawn.PreloaderGone:
		s.preloaderEnded(e.Preloader, e.Status)
	case spawn.Spawned:
		if w := s.workers[e.Worker]; w != nil {
			if err := w.process.Watch(e.PID); err != nil {
				s.log.Error("application process cannot be watched", "worker", e.PID, "error", err)
			}
		}
	case spawn.SpawnFailed:
		if w := s.workers[e.Worker]; w != nil {
			w.reason = bootError("SpawnError", e.Message)
			s.workerGone(w, "")
		}
	case spawn.Exited:
		s.workerExited(e)
	case spawn.WorkerReady:
		if w := s.workers[e.Worker]; w != nil {
			s.workerReady(w, e.PID)
		}
	case spawn.WorkerBootFailed:
		if w := s.workers[e.Worker]; w != nil {
			w.reason = e.Err
		}
	case spawn.WorkerGone:
		if w := s.workers[e.Worker]; w != nil {
			s.workerGone(w, e.Status)
		}
	case spawn.FarewellOver:
		if w := s.workers[e.Worker]; w != nil {
			s.farewellOver(w)
		}
	case spawn.OutOfBandWanted:
		s.outOfBandWanted(e.Worker)
	case spawn.OutOfBandDone:
		s.outOfBandDone(e.Worker)
	case spawn.Backtrace:
		s.backtraceCame(e)
	case spawn.Promoted:
		s.promoted(e)
	case spawn.PromoteFailed:
		s.promoteFailed(e)
	case pressureFelt:
		s.grow()
	case restartWanted:
		s.restartNow(e.why, e.method)
	case freshWanted:
		s.freshWanted(e)
	case retryDue:
		if !s.stopping && s.current == nil && s.next == nil {
			s.boot(bootAgain)
		}
	case brakeReleased:
		s.released = nil
		s.balance()
	case bootTimedOut:
		if g := e.generation; (g == s.next || g == s.current) && g.preloader != nil && !g.loaded {
			s.bootFailed(g, s.startTimeout("the application was not loaded"))
		}
	case startTimedOut:
		if w := s.workers[e.worker]; w != nil && w.state == pool.WorkerStarting {
			w.reason = s.startTimeout("an application process was not ready")
			s.kill(w)
		}
	case leaveTimedOut:
		if w := s.workers[e.worker]; w != nil && w.state == pool.WorkerLeaving {
			s.log.Warn("killing an application process", "worker", w.pid(), "reason", "did not finish its requests before the deadline")
			s.kill(w)
		}
	case clientGone:
		s.clientGone(e)
	case slotBroken:
		if w := s.workers[e.worker]; w != nil {
			s.kill(w)
		}
	case probationOver:
		s.takeOver()
		s.grow()
	case limitReached:
		if w := s.workers[e.worker]; w != nil && !s.stopping {
			s.judge(w)
			s.balance()
		}
	case outOfBandTimedOut:
		s.outOfBandTimedOut(e.worker)
	case sampled:
		s.noteSamples(e)
	case drainTimedOut:
		s.killAll(e.generation, "did not finish its requests before the deadline")
	case closed:
		delete(s.draining, e.generation)
	case statusWanted:
		e.reply <- s.snapshot()
	case detachWanted:
		e.reply <- s.detach(e.pid)
	case backtraceWanted:
		s.backtraceWanted(e)
	case backtraceMissing:
		s.backtraceMissing(e)
	case stopWanted:
		s.stopAll()
	case stopExpired:
		for g := range s.draining {
			s.killAll(g, "did not finish before the shutdown deadline")
		}
	}
}

func (s *supervisor) startTimeout(what string) *dispatch.BootError {
	return bootError("StartTimeout", what+" within "+s.options.StartTimeout.String()+" (start_timeout)")
}

// stopAll drains everything there is.
func (s *supervisor) stopAll() {
	s.stopping = true
	for _, t := range []*time.Timer{s.retry, s.released} {
		if t != nil {
			t.Stop()
		}
	}
	s.dispatcher.Refuse(dispatch.ErrShuttingDown)
	s.refork.cancel()
	s.restarts.releaseAll(s.next)
	leaving := []*generation{s.next, s.current}
	for g := range s.retiring {
		leaving = append(leaving, g)
	}
	for _, g := range leaving {
		if g != nil {
			s.drain(g)
		}
	}
	s.next, s.current = nil, nil
}

// all are the generations that have processes.
func (s *supervisor) all() []*generation {
	var all []*generation
	for _, g := range []*generation{s.next, s.current} {
		if g != nil {
			all = append(all, g)
		}
	}
	for _, set := range []map[*generation]bool{s.retiring, s.draining} {
		for g := range set {
			all = append(all, g)
		}
	}
	return all
}

// reapStrangers collects what has become a child of this process because its
// parent has died. Under a Rack handler the process is not this engine's alone.
func (s *supervisor) reapStrangers() {
	if s.options.PreloaderFD >= 0 {
		return
	}
	known := map[int]bool{}
	for _, w := range s.workers {
		known[w.pid()] = true
	}
	for _, g := range s.all() {
		if g.preloader != nil {
			known[g.preloader.PID()] = true
		}
	}
	spawn.ReapStrangers(func(pid int) bool { return known[pid] })
}

// slotWorking reports whether a slot works on a request.
func slotWorking(state link.SlotStatus) bool { return state.State == link.SlotWorking }
