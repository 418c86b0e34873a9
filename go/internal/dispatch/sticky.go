package dispatch

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"passenger/go/internal/link"
)

// newSeatID draws a number that no other seat has; d.mu is held.
func (d *Dispatcher) newSeatID() uint32 {
	for {
		var b [4]byte
		rand.Read(b[:]) // never fails
		if id := binary.LittleEndian.Uint32(b[:]); id != 0 && d.seats[id] == nil {
			return id
		}
	}
}

// takes reports whether the seat's worker takes requests of its own.
func (s *Seat) takes() bool { return s.ready && s.g.serving && s.direct != nil && !s.deaf }

// wanted is the seat whose worker a call asks for, nil if any worker will do.
func (d *Dispatcher) wanted(c *Call) *Seat {
	if c.Sticky == 0 {
		return nil
	}
	if s := d.seats[c.Sticky]; s != nil && s.takes() {
		return s
	}
	return nil
}

// submitTo brings a call to its own worker; d.mu is held.
func (d *Dispatcher) submitTo(s *Seat, c *Call) error {
	if s.line.first == nil && s.underway < s.credit() && d.send(s.g, s, c) {
		return nil
	}
	if !s.takes() {
		return d.wait(&d.line, c)
	}
	return d.wait(&s.line, c)
}

// credit is how many requests of its own a worker is given at a time.
func (s *Seat) credit() int { return len(s.indexes) * (1 + lookAhead) }

// pumpTo sends what waits for one worker; d.mu is held.
func (d *Dispatcher) pumpTo(s *Seat) {
	for s.line.first != nil && s.takes() && s.underway < s.credit() {
		c := s.line.first
		d.leave(c)
		if !d.spent(c) && !d.send(s.g, s, c) {
			l := &s.line
			if !s.takes() {
				l = &d.line
			}
			l.prepend(c)
			d.waiting++
			return
		}
	}
}

// takeBackFrom takes back what waits for a worker and what it has not
// received; requeue comes next. d.mu is held.
func (d *Dispatcher) takeBackFrom(s *Seat) {
	if s.direct == nil {
		return
	}
	d.takeBack(s.g, s)
	for s.line.first != nil {
		c := s.line.first
		d.leave(c)
		d.back = append(d.back, c)
	}
}

// silence is called when nothing can be sent to a worker of its own any more.
func (d *Dispatcher) silence(s *Seat) {
	s.deaf = true
	d.takeBackFrom(s)
	d.requeue()
}

// openDirect gives the seat a queue of its own.
func (s *Seat) openDirect() error {
	queue, err := link.NewQueue()
	if err != nil {
		return err
	}
	if s.peer, err = queue.DuplicateWorkersEnd(); err != nil {
		queue.Close()
		return err
	}
	s.direct = queue
	return nil
}

// closeDirect ends the queue of a worker that is no more. What it has not
// received goes to others. d.mu is held.
func (d *Dispatcher) closeDirect(s *Seat) {
	if s.direct == nil {
		return
	}
	d.takeBackFrom(s)
	queue := s.direct
	s.direct = nil
	for _, c := range d.calls {
		// Only this worker can have taken it, and it can say so no more.
		if c != nil && c.seat == s && c.state == callSent {
			d.settle(c)
			d.fail(c, ErrWorkerDied)
		}
	}
	d.requeue()
	if err := queue.Close(); err != nil {
		d.options.Log.Warn("closing the direct queue of an application process", "error", fmt.Errorf("worker %d: %w", s.id, err))
	}
	s.peer.Close() // it may have been closed by whom it was given to
}
