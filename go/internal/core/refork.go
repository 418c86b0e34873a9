package core

import (
	"cmp"
	"slices"
	"time"

	"passenger/go/internal/link"
	"passenger/go/internal/pool"
	"passenger/go/internal/spawn"
)

// refork makes a worker that has served for a while the preloader of the next
// generation (refork_after): what it has loaded, cached and compiled since it
// was forked is then shared by all. The worker is replaced first, so that
// nothing is missing while it finishes its requests and forks the preloader.
type refork struct {
	worker  int           // that is to fork, or does; 0: none
	control *link.Control // of the preloader that it is about to fork
	after   time.Time     // no attempt before
}

// reforkPause is how long after a failure the next attempt comes.
const reforkPause = time.Minute

// considerRefork picks the most experienced worker when it has served enough
// requests since its generation began.
func (s *supervisor) considerRefork(now time.Time) {
	if s.options.ReforkAfter == 0 || s.refork.worker != 0 || s.current == nil || s.next != nil || len(s.retiring) > 0 || now.Before(s.refork.after) {
		return
	}
	var ready []*worker
	for _, w := range s.current.workers {
		if w.state == pool.WorkerReady && w.retiring == "" {
			ready = append(ready, w)
		}
	}
	if len(ready) == 0 {
		return
	}
	warmest := slices.MaxFunc(ready, func(a, b *worker) int { return cmp.Compare(a.finished(), b.finished()) })
	if warmest.finished() >= uint64(s.options.ReforkAfter) {
		s.refork.worker = warmest.number
		s.retire(warmest, pool.ReasonRefork)
	}
}

// shouldPromote reports whether a worker that leaves is to fork a preloader. If
// other code serves by now, the code that it has is not wanted any more.
func (s *supervisor) shouldPromote(w *worker) bool {
	if w.retiring != pool.ReasonRefork || s.refork.worker != w.number || s.refork.control != nil || s.stopping {
		return false
	}
	if w.generation != s.current {
		s.refork.cancel()
		return false
	}
	return true
}

// promote has the worker finish its requests and fork a preloader.
func (s *supervisor) promote(w *worker) error {
	control, err := w.process.Promote(w.farewell.told())
	if err != nil {
		s.reforkFailed("it cannot be told: " + err.Error())
		return err
	}
	s.refork.control = control
	return nil
}

// promoted: the preloader is there. The generation that it begins takes over
// worker by worker.
func (s *supervisor) promoted(e spawn.Promoted) {
	control := s.refork.control
	if e.Worker != s.refork.worker || control == nil {
		return
	}
	s.refork.worker, s.refork.control = 0, nil
	w := s.workers[e.Worker]
	if s.stopping || s.next != nil || w == nil || w.generation != s.current {
		control.Close() // the preloader reads its end and leaves
		return
	}
	g, err := s.newGeneration(bootRefork)
	if err != nil {
		control.Close()
		s.reforkFailed(err.Error())
		return
	}
	s.log.Info("a worker has become the preloader of new application processes", "preloader", e.PID, "generation", g.Number())
	s.next = g
	s.restarts.begun(g)
	g.preloader, err = spawn.AdoptPromoted(s.app, g.Generation, control, e.PID, s.report)
	s.preloaderStarted(g, err)
}

func (s *supervisor) promoteFailed(e spawn.PromoteFailed) {
	if e.Worker == s.refork.worker {
		s.reforkFailed(e.Message)
	}
}

// reforkGone: a worker has ended. If it was to fork a preloader, it has not.
func (s *supervisor) reforkGone(number int) {
	if number == s.refork.worker {
		s.reforkFailed("it has ended")
	}
}

func (s *supervisor) reforkFailed(why string) {
	s.log.Error("a worker could not become a preloader (refork_after)", "reason", why, "next_attempt_in", reforkPause)
	s.refork.cancel()
	s.refork.after = time.Now().Add(reforkPause)
}

func (r *refork) cancel() {
	if r.control != nil {
		r.control.Close()
	}
	r.worker, r.control = 0, nil
}
