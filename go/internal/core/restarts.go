package core

import (
	"time"

	"passenger/go/internal/pool"
)

// How new code takes over, as the admin interface names it.
const (
	// RestartBlocking: all new processes start beside the old ones and take
	// over at once, when they are ready. Old and new code never serve together.
	// (The name is Passenger's, whose requests wait meanwhile; here they do not.)
	RestartBlocking = "blocking"
	// RestartRolling: rolling_restart_size processes at a time.
	RestartRolling = "rolling"
)

// restarts is what there is to know about them.
type restarts struct {
	method string // of the one under way, or of the last one
	count  int    // that have taken over
	last   time.Time
	active bool   // one is under way
	again  bool   // another one is to follow
	next   string // with this method
	// Requests that wait for code loaded later than that of the one under way.
	fresh []chan struct{}
}

// restartNow boots a new generation beside the one that serves. While one boots
// the restart is made up for: what is being loaded may be outdated already.
func (s *supervisor) restartNow(why, method string) {
	if s.stopping {
		return
	}
	if method == "" {
		method = RestartBlocking
		if s.options.RollingRestarts {
			method = RestartRolling
		}
	}
	if s.next != nil {
		s.restarts.again, s.restarts.next = true, method
		return
	}
	s.log.Info("restarting the application", "reason", why, "method", method)
	s.failures = 0
	s.brake.Release()
	s.restarts.method = method
	s.boot(bootRestart)
}

// restartAgain makes up for a restart that was asked for during another one.
func (s *supervisor) restartAgain() {
	if !s.restarts.again || s.next != nil {
		return
	}
	s.restarts.again = false
	if len(s.restarts.fresh) > 0 {
		s.boot(bootFresh)
		return
	}
	s.restartNow("restart.txt changed during the last restart", s.restarts.next)
}

// begun: a generation boots. The requests that wait for code that is loaded
// from now on wait for it.
func (r *restarts) begun(g *generation) {
	r.active = g.origin != bootFirst && g.origin != bootAgain
	g.awaited, r.fresh = r.fresh, nil
}

// ended: it serves, or will not.
func (r *restarts) ended(g *generation) {
	for _, ready := range g.awaited {
		close(ready)
	}
	g.awaited = nil
	r.active = false
}

func (r *restarts) releaseAll(next *generation) {
	if next != nil {
		r.ended(next)
	}
	for _, ready := range r.fresh {
		close(ready)
	}
	r.fresh = nil
}

// takeOver makes the next generation the serving one when as many of its
// workers are ready as that takes, or as can be had.
func (s *supervisor) takeOver() {
	g := s.next
	if g == nil || s.stopping {
		return
	}
	ready := g.count(pool.WorkerReady)
	if ready == 0 || ready < g.wanted && s.current != nil && g.count(pool.WorkerStarting) > 0 || !s.trusted(g) {
		return
	}
	s.scaler.Threads = g.threads
	if err := pool.Move(&g.state, pool.GenerationServing); err != nil {
		s.log.Error("generation cannot serve", "generation", g.Number(), "error", err)
		return
	}
	old := s.current
	s.current, s.next = g, nil
	s.failures = 0
	s.broken.Store(nil)
	if old != nil && g.rolling {
		s.serveBeside(old)
	} else {
		s.serveAlone(old)
	}
	if g.origin != bootRefork {
		s.serving(g.facts) // after that, so that nothing of the old one is kept from now on
	}
	if old != nil {
		s.log.Info("new application processes take over", "generation", g.Number(), "worker_by_worker", g.rolling)
		s.restarts.count++
		s.restarts.last = time.Now()
	}
	s.restarts.ended(g)
	if !s.announced {
		s.announced = true
		s.notify.send("ready")
	}
	s.restartAgain()
}

// trusted reports whether no worker of g seems to be about to die. What takes
// over from nothing, or for a single request, is not waited for.
func (s *supervisor) trusted(g *generation) bool {
	if s.current == nil || g.origin == bootFresh {
		return true
	}
	now := time.Now()
	for _, w := range g.workers {
		if w.state == pool.WorkerReady && !w.proven(now) {
			return false
		}
	}
	return true
}

// serveAlone sends all requests to the current generation.
func (s *supervisor) serveAlone(old *generation) {
	s.dispatcher.Serve(s.current.Generation)
	for g := range s.retiring {
		s.drain(g)
	}
	if old != nil {
		s.drain(old)
	}
}

// serveBeside lets the current generation take requests, too; the workers of
// the old one leave as it grows (see balance).
func (s *supervisor) serveBeside(old *generation) {
	s.dispatcher.Join(s.current.Generation)
	if err := pool.Move(&old.state, pool.GenerationRetiring); err != nil {
		s.log.Error("generation cannot retire", "generation", old.Number(), "error", err)
	}
	s.retiring[old] = true
	if old.deadline != nil {
		old.deadline.Stop()
	}
	old.closePreloader()
	for _, w := range old.workers {
		if w.state == pool.WorkerStarting {
			s.leave(w) // nobody needs it any more
		} else if w.retiring == "" {
			w.retiring = pool.ReasonRestart
		}
	}
}

// endRoll drains generations of which no worker takes requests any more.
func (s *supervisor) endRoll() {
	for g := range s.retiring {
		if g.staying() == 0 {
			s.log.Info("the last application process of a former generation leaves", "generation", g.Number())
			s.drain(g)
		}
	}
}

// freshWanted is a request that must be served by code that is loaded after it
// has come (always_restart.txt); ready is closed when there is some, or when
// it could not be loaded.
type freshWanted struct{ ready chan struct{} }

func (s *supervisor) freshWanted(e freshWanted) {
	if s.stopping {
		close(e.ready)
		return
	}
	s.restarts.fresh = append(s.restarts.fresh, e.ready)
	if s.next != nil {
		s.restarts.again, s.restarts.next = true, RestartBlocking
		return
	}
	s.boot(bootFresh)
}

// awaitFresh holds a request until code has been loaded that is not older than it.
func (s *supervisor) awaitFresh() {
	ready := make(chan struct{})
	s.post(freshWanted{ready})
	select {
	case <-ready:
	case <-s.ended:
	}
}
