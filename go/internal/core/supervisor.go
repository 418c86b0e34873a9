package core

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"passenger/go/internal/config"
	"passenger/go/internal/dispatch"
	"passenger/go/internal/pool"
	"passenger/go/internal/spawn"
)

// supervisor owns the application processes. One goroutine (run) holds all of
// its state; everything that happens reaches it as an event.
type supervisor struct {
	options    config.Options
	app        spawn.App
	policy     pool.Policy
	dispatcher *dispatch.Dispatcher
	log        *slog.Logger
	notify     *notifier

	events  chan any
	ended   chan struct{} // closed when run has returned
	started bool

	broken   atomic.Pointer[failure] // why the app cannot be served at present
	growable atomic.Bool             // there may be more workers, and nobody has asked for one yet

	// Held by run.
	current     *generation // serves
	next        *generation // boots to take over
	draining    map[*generation]bool
	workers     map[int]*worker
	unmourned   map[int]*worker // have ended, and nobody has said how
	generations int
	spawned     int
	failures    int // boots in a row that came to nothing
	lastFailure *BootFailure
	retry       *time.Timer
	restartNext bool // a restart was asked for while another was under way
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

// bootBackoff is the distance between attempts to boot an app that fails.
var bootBackoff = pool.Backoff{First: time.Second, Longest: 30 * time.Second}

// impatience is how soon after a failure a request makes the engine try
// again, where the error page is for the developer who mends the error.
const impatience = time.Second

// tickInterval is the distance at which restart.txt is looked at.
const tickInterval = 500 * time.Millisecond

// Events of the supervisor's own.
type (
	pressureFelt  struct{}
	restartWanted struct{ why string }
	retryDue      struct{}
	bootTimedOut  struct{ generation *generation }
	startTimedOut struct{ worker int }
	slotBroken    struct{ worker int }
	drainTimedOut struct{ generation *generation }
	closed        struct{ generation *generation }
	stopWanted    struct{ ctx context.Context }
	stopExpired   struct{}
)

func newSupervisor(o config.Options, d *dispatch.Dispatcher, output *os.File, log *slog.Logger, notify *notifier) *supervisor {
	return &supervisor{
		options: o,
		app: spawn.App{
			Ruby: o.Ruby, Script: o.Preloader, Root: o.AppRoot, StartupFile: o.StartupFile, Environment: o.Environment,
			Threads: o.ThreadCount, ServerSoftware: o.ServerSoftware, LogToStdout: o.LogToStdout,
			XAccelMapping: mappingHeader(o.XAccelMappings), Environ: o.Environ, Output: output,
		},
		policy:     pool.Policy{Max: o.MaxPoolSize, Min: o.MinInstances},
		dispatcher: d,
		log:        log,
		notify:     notify,
		events:     make(chan any, 256),
		ended:      make(chan struct{}),
		draining:   map[*generation]bool{},
		workers:    map[int]*worker{},
		unmourned:  map[int]*worker{},
		watch:      newRestartWatch(o.RestartDir),
	}
}

// post delivers an event; after the end it is dropped.
func (s *supervisor) post(e any) {
	select {
	case s.events <- e:
	case <-s.ended:
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

func (s *supervisor) restart(why string) { s.post(restartWanted{why}) }

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
	s.boot()
	for {
		select {
		case e := <-s.events:
			s.handle(e)
		case <-ticker.C:
			if !s.stopping && s.watch.changed() {
				s.restartNow("restart.txt has changed")
			}
			s.dropIdlePreloader()
		}
		if s.stopping && s.current == nil && s.next == nil && len(s.draining) == 0 {
			return
		}
	}
}

// handle is the one place where events change the state.
func (s *supervisor) handle(event any) {
	switch e := event.(type) {
	case spawn.Loaded:
		if g := s.byPreloader(e.Preloader); g != nil {
			g.facts = e.App
			s.loaded(g)
		}
	case spawn.BootFailed:
		if g := s.byPreloader(e.Preloader); g != nil {
			s.bootFailed(g, e.Err)
		}
	case spawn.PreloaderGone:
		if g := s.byPreloader(e.Preloader); g != nil {
			s.preloaderGone(g, e.Status)
		}
	case spawn.Spawned:
		if w := s.workers[e.Worker]; w != nil {
			if err := w.Watch(e.PID); err != nil {
				s.log.Error("application process cannot be watched", "worker", e.PID, "error", err)
			}
		}
	case spawn.SpawnFailed:
		if w := s.workers[e.Worker]; w != nil {
			w.reason = bootError("SpawnError", e.Message)
			s.workerGone(w)
		}
	case spawn.Exited:
		if w := s.workers[e.Worker]; w != nil {
			w.status = e.Status
		} else if w := s.unmourned[e.Worker]; w != nil {
			w.status = e.Status
			s.mourn(w)
		}
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
			s.workerGone(w)
		}
	case pressureFelt:
		if s.current != nil {
			s.fill(s.current)
		}
	case restartWanted:
		s.restartNow(e.why)
	case retryDue:
		if !s.stopping && s.current == nil && s.next == nil {
			s.boot()
		}
	case bootTimedOut:
		if g := e.generation; (g == s.next || g == s.current) && g.preloader != nil && !g.loaded {
			s.bootFailed(g, bootError("StartTimeout", "the application was not loaded within "+s.options.StartTimeout.String()+" (start_timeout)"))
		}
	case startTimedOut:
		if w := s.workers[e.worker]; w != nil && w.state == pool.WorkerStarting {
			w.reason = bootError("StartTimeout", "an application process was not ready within "+s.options.StartTimeout.String()+" (start_timeout)")
			s.kill(w)
		}
	case slotBroken:
		if w := s.workers[e.worker]; w != nil {
			s.kill(w)
		}
	case drainTimedOut:
		s.killAll(e.generation, "did not finish its requests before the deadline")
	case closed:
		delete(s.draining, e.generation)
	case statusWanted:
		e.reply <- s.snapshot()
	case stopWanted:
		s.stopAll()
	case stopExpired:
		for g := range s.draining {
			s.killAll(g, "did not finish before the shutdown deadline")
		}
	}
}

// stopAll drains everything there is.
func (s *supervisor) stopAll() {
	s.stopping = true
	if s.retry != nil {
		s.retry.Stop()
	}
	s.dispatcher.Refuse(dispatch.ErrShuttingDown)
	for _, g := range []*generation{s.next, s.current} {
		if g != nil {
			s.drain(g)
		}
	}
	s.next, s.current = nil, nil
}

// restartNow boots a new generation beside the one that serves.
func (s *supervisor) restartNow(why string) {
	switch {
	case s.stopping:
	case s.next != nil && s.current != nil:
		s.restartNext = true
	case s.next != nil: // the first boot: what it loads may be outdated already
		s.restartNext = true
	default:
		s.log.Info("restarting the application", "reason", why)
		s.failures = 0
		s.boot()
	}
}

func (s *supervisor) byPreloader(p *spawn.Preloader) *generation {
	for _, g := range []*generation{s.next, s.current} {
		if g != nil && g.preloader == p {
			return g
		}
	}
	for g := range s.draining {
		if g.preloader == p {
			return g
		}
	}
	return nil
}
