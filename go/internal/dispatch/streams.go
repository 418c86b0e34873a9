package dispatch

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
)

// streamInterval is the distance of looks at the clients of streamed responses.
// One that has gone is known after the second look at the latest.
const streamInterval = 250 * time.Millisecond

// openStream is a response that the app sends piece by piece, until it has ended.
// While the app says nothing, nobody writes to the client, and nobody would
// notice that it has gone.
type openStream struct {
	seat   *Seat
	slot   int // scoreboard index
	frames *link.SlotStream
	client syscall.Conn // nil: there never was one
	begun  int64        // ns on CLOCK_MONOTONIC
	gone   bool         // the client has, and the worker has been told; guarded by d.mu

	// Of the sweep: at the last look the client had ended its sending side, and
	// had been sent everything there was, this many bytes.
	ended bool
	sent  int64
}

// openStream notes that the response of c, a stand-in, is being streamed; d.mu is held.
func (d *Dispatcher) openStream(c *Call, s *openStream) {
	c.open = s
	s.seat.streaming++
	d.open++
	if !d.watchingStreams {
		d.watchingStreams = true
		d.streamSweeper.Reset(streamInterval)
	}
}

// endStream is called when the slot is done with the response; d.mu is held.
func (d *Dispatcher) endStream(c *Call) {
	c.open.seat.streaming--
	d.open--
	c.open = nil
}

// sweepStreams looks at the clients of all streamed responses, and goes on
// doing so while there are any. A timer starts it: where nothing is streamed
// there is no goroutine.
func (d *Dispatcher) sweepStreams() {
	d.mu.Lock()
	for _, c := range d.calls {
		if c != nil && c.open != nil && c.open.client != nil && !c.open.gone {
			d.streamed = append(d.streamed, streamSuspect{call: c, stream: c.open})
		}
	}
	d.mu.Unlock()

	suspects := d.streamed
	d.streamGlance.at(len(suspects), func(i int) syscall.Conn { return suspects[i].stream.client }, func(i int, signs int16) {
		suspects[i].signs = signs
	})

	for i := range suspects {
		suspects[i].gone = suspects[i].hasGone() // may wait for a spool's disk, which the dispatcher must not
	}

	d.mu.Lock()
	for i := range suspects {
		s := &suspects[i]
		// It may have ended meanwhile, and somebody else may have its connection.
		if s.gone = s.gone && s.call.open == s.stream; s.gone {
			s.stream.gone = true
		}
	}
	d.mu.Unlock()

	for i := range suspects {
		if suspects[i].gone {
			d.clientOfStreamGone(suspects[i].call, suspects[i].stream)
		}
	}
	clear(suspects)
	d.streamed = suspects[:0]

	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open > 0 {
		d.streamSweeper.Reset(streamInterval)
	} else {
		d.watchingStreams = false
	}
}

// streamSuspect is a streamed response whose client is looked at.
type streamSuspect struct {
	call   *Call
	stream *openStream
	signs  int16
	gone   bool
}

// hasGone judges the signs. The end of the sending side alone may be a client
// that has nothing more to say and goes on reading, though hardly any does: as
// long as the app writes, the kernel tells the two apart, since it answers for a
// client that has gone. So that is believed only of one that was sent nothing
// between two looks.
func (s *streamSuspect) hasGone() bool {
	o := s.stream
	if s.signs&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
		return true
	}
	if s.signs&unix.POLLRDHUP == 0 {
		return false
	}
	before, sent := o.ended, o.sent
	o.sent, o.ended = s.call.Stream.Drained()
	return before && o.ended && sent == o.sent
}

// clientOfStreamGone breaks the response off on both sides. The worker is told
// in two ways: what its next write finds out, and what it hears while it does
// not write.
func (d *Dispatcher) clientOfStreamGone(c *Call, o *openStream) {
	c.Stream.CloseWrite(ErrClientGone)
	// The worker may have ended meanwhile.
	_ = o.frames.Notify(c.ID, link.NoticeClientGone, -1)
	if d.options.ClientGone != nil {
		d.options.ClientGone(o.seat, o.slot, c.ID)
	}
}

// Streaming is how many responses the worker sends piece by piece at present.
func (s *Seat) Streaming() int {
	s.g.d.mu.Lock()
	defer s.g.d.mu.Unlock()
	return s.streaming
}

// Held says how many slots take requests, and how many of them have had a
// streamed response open for longer than age.
func (d *Dispatcher) Held(age time.Duration) (held, slots int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.serving {
		slots += g.slots
	}
	if d.open < slots {
		return 0, slots
	}
	now := link.Now()
	for _, c := range d.calls {
		if c != nil && c.open != nil && c.open.seat.ready && c.generation.serving && time.Duration(now-c.open.begun) > age {
			held++
		}
	}
	return held, slots
}
