package core

import (
	"time"

	"passenger/go/internal/pool"
	"passenger/go/internal/spawn"
)

// farewell is what becomes of the connections that the app has taken over in a
// worker that is to leave. First the worker has time to take leave of the
// clients of Action Cable, and the app to close its own in an orderly way
// (:stopping_worker_process); what is open after that is closed by the engine.
type farewell struct {
	spread time.Duration
	notice time.Time // when the worker is to be told that it may not stay for them any longer; zero: it has been
	cut    time.Time // when the engine closes what is left; zero: not before the notice
}

const (
	// reconnectSpread is over how long the clients of Action Cable are told to
	// connect again, at most: up to a thousand come at a rate that one process can
	// take, more come faster, so that the worker does not stay for long.
	reconnectSpread = 3 * time.Second
	// farewellPatience is how long the worker has for all of it: to tell them, and
	// to wait for their answers.
	farewellPatience = reconnectSpread + 2500*time.Millisecond
)

// planFarewell divides the time that a worker has to leave. No more than half
// of it goes to the connections: the rest is for what they hold up. At the end
// of the server there is no process that its clients could storm.
func planFarewell(now time.Time, patience time.Duration, keep, stopping bool) farewell {
	spread := min(reconnectSpread, patience/4)
	if stopping {
		spread = 0
	}
	whole := min(farewellPatience, patience/2)
	if keep {
		return farewell{spread: spread, notice: now.Add(patience - whole)}
	}
	return farewell{spread: spread, cut: now.Add(whole)}
}

// told is what the worker hears of it at first.
func (f farewell) told() spawn.Farewell {
	return spawn.Farewell{Keep: !f.notice.IsZero(), Spread: f.spread}
}

// farewells does what is due for workers that leave. Requests under way may
// open more connections until they have finished, so what is closed is closed
// again and again.
func (s *supervisor) farewells(now time.Time) {
	for _, w := range s.workers {
		if w.state != pool.WorkerLeaving || w.process == nil {
			continue
		}
		f := &w.farewell
		if !f.notice.IsZero() && !now.Before(f.notice) {
			f.notice, f.cut = time.Time{}, now.Add(farewellPatience)
			if err := w.process.Stop(f.told()); err != nil {
				s.kill(w)
				continue
			}
		}
		if !f.cut.IsZero() && !now.Before(f.cut) {
			s.tunnels.CloseAll(uint32(w.pid()))
		}
	}
}

// farewellOver: the worker has taken leave, but requests under way seem to wait
// for the end of connections.
func (s *supervisor) farewellOver(w *worker) {
	if w.state == pool.WorkerLeaving && w.farewell.notice.IsZero() {
		w.farewell.cut = time.Now()
		s.farewells(w.farewell.cut)
	}
}
