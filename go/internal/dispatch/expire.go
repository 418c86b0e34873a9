package dispatch

import (
	"fmt"
	"time"

	"passenger/go/internal/link"
	"passenger/go/internal/spool"
)

// Late is a request that a worker has worked on for long.
type Late struct {
	Slot int // scoreboard index
	ID   uint64
	Age  time.Duration // since the worker took it
}

// Overdue lists the requests that the worker has worked on for longer than
// limit at the time now (ns on CLOCK_MONOTONIC), those that have their answer
// already included.
func (s *Seat) Overdue(now int64, limit time.Duration) []Late {
	s.g.d.mu.Lock()
	defer s.g.d.mu.Unlock()
	if s.ended {
		return nil
	}
	var late []Late
	for _, i := range s.indexes {
		status := s.g.board.Slot(i)
		if status.State != link.SlotWorking || status.StartedAt == 0 {
			continue
		}
		age := time.Duration(now - status.StartedAt)
		// The worker may have gone on to another request while its record was
		// read. The id is what counts, and no request is older than itself.
		if c := s.g.d.call(status.RequestID); c != nil {
			age = min(age, time.Duration(now-c.submitted))
		}
		if age > limit {
			late = append(late, Late{Slot: i, ID: status.RequestID, Age: age})
		}
	}
	return late
}

// Expire gives the client its answer now instead of waiting for the worker any
// longer: err, or, if a head has been delivered already, a body that breaks off
// with err. What the worker still has to say is dropped, and its slot counts as
// busy until it has ended with the request or by itself. It reports whether the
// request had still been waited for.
func (s *Seat) Expire(id uint64, err error) bool {
	d := s.g.d
	d.mu.Lock()
	c := d.call(id)
	if s.ended || c == nil || c.generation != s.g || c.expired {
		d.mu.Unlock()
		return false
	}
	stream := s.streamOf(id)
	if stream == nil {
		d.mu.Unlock()
		return false // it is not this worker's, or not any more
	}
	if c.state == callSent {
		d.detach(c).expired = true
		d.fail(c, err)
		d.mu.Unlock()
		return true
	}
	if c.ready != nil {
		d.mu.Unlock()
		return false // the response is being read at this moment
	}
	body, offer := c.Stream, c.Offer
	if body == nil {
		d.mu.Unlock()
		return false // the app has taken the client's connection over
	}
	c.expired = true
	d.mu.Unlock()
	if offer != nil {
		offer.breakOff()
	}
	body.CloseWrite(err)
	// The worker may have ended meanwhile.
	_ = stream.Notify(id, link.NoticeClientGone, -1)
	return true
}

// streamOf finds the stream of the slot that works on a request; d.mu is held.
func (s *Seat) streamOf(id uint64) *link.SlotStream {
	for k, i := range s.indexes {
		if s.g.board.RequestID(i) == id {
			return s.streams[k]
		}
	}
	return nil
}

// swallow reads the response to a request that has been given another answer.
func (r *reader) swallow(h link.FrameHeader) error {
	begins := h.Type.Begins()
	if err := r.drop(h); err != nil {
		return err
	}
	switch {
	case !begins:
		return fmt.Errorf("frame %s came before a head", h.Type)
	case h.Type == link.FrameHead || h.Type == link.FrameOffer:
		r.body, r.streaming = spool.New(r.g.d.options.Spool, r.g.d.options.Log), true
		r.body.Close()
		if h.Type == link.FrameOffer {
			r.offer = newOffer(r.stream, h.ID)
			// A worker that does not hear of it waits no longer than for any answer.
			_ = r.offer.Decline()
		}
		r.abandon()
	case h.Type == link.FrameHijack:
		r.hijacked = true
	default:
		c := r.call
		r.call = nil
		r.finished(c)
	}
	return nil
}
