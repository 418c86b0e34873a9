package core

import (
	"slices"
	"time"

	"passenger/go/internal/pool"
)

// outOfBand is the work that the app wants to do between requests, in one
// worker at a time, so that the others serve meanwhile.
type outOfBand struct {
	line     []int // workers that have asked for it
	busy     int   // the one that does it; 0: none
	deadline *time.Timer
}

// outOfBandPatience is how long such work may take (as in Passenger).
const outOfBandPatience = time.Minute

type outOfBandTimedOut struct{ worker int }

func (s *supervisor) outOfBandWanted(number int) {
	o := &s.outOfBand
	if number != o.busy && !slices.Contains(o.line, number) {
		o.line = append(o.line, number)
	}
	s.nextOutOfBand()
}

// nextOutOfBand lets the next worker do its work. One that is to be replaced
// anyway, or cannot be spared, does without or waits.
func (s *supervisor) nextOutOfBand() {
	o := &s.outOfBand
	for o.busy == 0 && len(o.line) > 0 && !s.stopping {
		w := s.workers[o.line[0]]
		o.line = o.line[1:]
		if w == nil || w.retiring != "" || pool.Move(&w.state, pool.WorkerAway) != nil {
			continue
		}
		w.seat.Leaving()
		if err := w.process.WorkOutOfBand(); err != nil {
			s.kill(w)
			continue
		}
		o.busy = w.number
		o.deadline = time.AfterFunc(outOfBandPatience, func() { s.post(outOfBandTimedOut{w.number}) })
	}
}

func (s *supervisor) outOfBandDone(number int) {
	if number != s.outOfBand.busy {
		return
	}
	s.outOfBand.release()
	if w := s.workers[number]; w != nil && pool.Move(&w.state, pool.WorkerReady) == nil {
		w.seat.Ready()
	}
	s.nextOutOfBand()
	s.balance()
}

func (s *supervisor) outOfBandTimedOut(number int) {
	if w := s.workers[number]; w != nil && number == s.outOfBand.busy && w.state == pool.WorkerAway {
		s.log.Error("killing an application process", "worker", w.pid(), "reason", "its out-of-band work took longer than "+outOfBandPatience.String())
		s.kill(w)
	}
}

func (o *outOfBand) release() {
	o.busy = 0
	o.deadline.Stop()
}

// outOfBandGone: the worker has ended.
func (s *supervisor) outOfBandGone(number int) {
	o := &s.outOfBand
	o.line = slices.DeleteFunc(o.line, func(n int) bool { return n == number })
	if number == o.busy {
		o.release()
		s.nextOutOfBand()
	}
}
