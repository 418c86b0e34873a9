package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"passenger/go/internal/link"
	"passenger/go/internal/spool"
)

// Generation is one loading of the app: a queue, a scoreboard and the slots
// of the workers that were forked from one preloader (or its successors).
type Generation struct {
	d      *Dispatcher
	number int
	queue  *link.Queue
	board  *link.Scoreboard

	// Guarded by d.mu.
	slots       int // of ready workers
	outstanding int // sent and not finished

	freeSlots []int

	background sync.WaitGroup // slot readers and audits
	closing    context.Context
	close      context.CancelFunc
}

// NewGeneration makes the queue and the scoreboard, with room for capacity slots.
func (d *Dispatcher) NewGeneration(number, capacity int) (*Generation, error) {
	queue, err := link.NewQueue()
	if err != nil {
		return nil, err
	}
	board, err := link.NewScoreboard(capacity)
	if err != nil {
		return nil, errors.Join(err, queue.Close())
	}
	g := &Generation{d: d, number: number, queue: queue, board: board}
	g.closing, g.close = context.WithCancel(context.Background())
	for i := capacity - 1; i >= 0; i-- {
		g.freeSlots = append(g.freeSlots, i)
	}
	return g, nil
}

// Number counts the generations of this server, from 1.
func (g *Generation) Number() int { return g.number }

// Queue is the socket workers receive from.
func (g *Generation) Queue() *link.Queue { return g.queue }

// Board is the scoreboard of the generation.
func (g *Generation) Board() *link.Scoreboard { return g.board }

func (g *Generation) hasCredit() bool { return g.outstanding < g.slots*(1+lookAhead) }

// Seat is the place of one worker in a generation: its slots.
type Seat struct {
	g       *Generation
	indexes []int
	streams []*link.SlotStream
	ready   bool
	readers sync.WaitGroup
}

// NewSeat reserves n slots and starts reading their streams. peers are the
// workers' ends; the caller passes them on and closes them. broken is called
// when a worker does not keep to the protocol; it must not block.
func (g *Generation) NewSeat(n int, broken func()) (seat *Seat, peers []*os.File, err error) {
	indexes := g.takeSlots(n)
	if indexes == nil {
		return nil, nil, fmt.Errorf("the scoreboard has no %d free slots for another application process", n)
	}
	seat = &Seat{g: g, indexes: indexes}
	for range n {
		stream, peer, err := link.NewSlotStream()
		if err != nil {
			for _, s := range seat.streams {
				s.Close()
			}
			for _, p := range peers {
				p.Close()
			}
			g.returnSlots(indexes)
			return nil, nil, err
		}
		seat.streams = append(seat.streams, stream)
		peers = append(peers, peer)
	}
	for i := range seat.streams {
		index, stream := seat.indexes[i], seat.streams[i]
		seat.readers.Add(1)
		g.background.Add(1)
		go func() {
			defer g.background.Done()
			defer seat.readers.Done()
			g.read(index, stream, broken)
		}()
	}
	return seat, peers, nil
}

func (g *Generation) takeSlots(n int) []int {
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	rest := len(g.freeSlots) - n
	if rest < 0 {
		return nil
	}
	taken := slices.Clone(g.freeSlots[rest:])
	g.freeSlots = g.freeSlots[:rest]
	return taken
}

func (g *Generation) returnSlots(indexes []int) {
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	g.freeSlots = append(g.freeSlots, indexes...)
}

// Slots are the scoreboard indexes of the seat.
func (s *Seat) Slots() []int { return s.indexes }

// Ready gives the generation the credit of the seat's slots.
func (s *Seat) Ready() {
	d := s.g.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if !s.ready {
		s.ready = true
		s.g.slots += len(s.indexes)
		d.pump()
	}
}

// Leaving takes the credit back: the worker receives no further requests.
func (s *Seat) Leaving() {
	d := s.g.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.ready {
		s.ready = false
		s.g.slots -= len(s.indexes)
	}
}

// eofPatience is how long the streams of a dead worker may stay open. They
// end at once, unless a process that the app forked has kept them.
const eofPatience = 500 * time.Millisecond

// Close is called when the worker has ended. Requests it had begun are
// answered with 502, and those it may have taken unseen are searched for.
// It returns at once.
func (s *Seat) Close() {
	s.Leaving()
	g := s.g
	g.background.Add(1)
	go func() {
		defer g.background.Done()
		hangup := time.AfterFunc(eofPatience, func() {
			for _, stream := range s.streams {
				stream.Interrupt()
			}
		})
		s.readers.Wait()
		hangup.Stop()
		g.d.mu.Lock()
		for _, i := range s.indexes {
			g.board.Vacate(i)
		}
		g.freeSlots = append(g.freeSlots, s.indexes...)
		until := g.d.sequence
		g.d.mu.Unlock()
		g.audit(until)
	}()
}

// audit searches for the lost requests up to a sequence number, until none is in doubt.
func (g *Generation) audit(until uint64) {
	ticker := time.NewTicker(auditInterval)
	defer ticker.Stop()
	suspects, unsettled := g.d.lost(g, until, nil)
	for unsettled {
		select {
		case <-g.closing.Done():
			return
		case <-ticker.C:
			suspects, unsettled = g.d.lost(g, until, suspects)
		}
	}
}

// Drain ends the generation's share of new requests and tells its workers to
// leave after what they have begun.
func (g *Generation) Drain() error {
	g.d.mu.Lock()
	if g.d.current == g {
		g.d.current = nil
	}
	g.d.mu.Unlock()
	return g.queue.CloseWrite()
}

// FailRest answers everything that is still under way in this generation.
// No worker of it lives any more, or those that do are about to be killed.
func (g *Generation) FailRest(err error) {
	g.queue.Drain() // what it holds is among the calls below
	d := g.d
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.calls {
		if c != nil && c.generation == g && c.state == callSent {
			g.outstanding--
			d.release(c)
			d.fail(c, err)
		}
	}
}

// Unanswered is how many requests of the generation have no response yet.
func (g *Generation) Unanswered() int {
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	return g.outstanding
}

// Close frees everything. All seats are closed.
func (g *Generation) Close() error {
	g.close()
	g.background.Wait()
	g.FailRest(ErrWorkerDied)
	return errors.Join(g.queue.Close(), g.board.Close())
}

// read takes the response frames of one slot until the worker closes it.
func (g *Generation) read(index int, stream *link.SlotStream, broken func()) {
	r := reader{g: g, stream: stream}
	err := r.run()
	stream.Close()
	failure := error(ErrWorkerDied)
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) {
		// The worker does not keep to the protocol: it cannot be used any more.
		g.d.options.Log.Error("response stream of an application process failed", "generation", g.number, "slot", index, "error", err)
		failure = ErrBadResponse
		defer broken()
	}
	if r.call != nil { // in the middle of a response
		call := r.call
		g.d.finished(g, call)
		if r.streaming {
			r.body.CloseWrite(failure)
		} else {
			call.err = failure
			call.ready <- struct{}{}
		}
		return
	}
	// Between responses: the slot may have begun a request and not answered.
	if call := g.d.answering(g, g.board.Slot(index).RequestID); call != nil {
		g.d.finished(g, call)
		call.err = failure
		call.ready <- struct{}{}
	}
}

// reader turns the frames of one slot into responses.
type reader struct {
	g         *Generation
	stream    *link.SlotStream
	call      *Call        // whose response is being read; nil between responses
	streaming bool         // its head has been delivered, body is being filled
	body      *spool.Spool // of the streaming call
	abandoned bool         // the worker has been told that its client has gone
	chunk     []byte
}

func (r *reader) run() error {
	for {
		h, err := r.stream.Next()
		if err != nil {
			return err
		}
		if r.streaming {
			err = r.continued(h)
		} else {
			err = r.begin(h)
		}
		if err != nil {
			return err
		}
	}
}

// begin reads the first frame of a response.
func (r *reader) begin(h link.FrameHeader) error {
	g := r.g
	c := g.d.answering(g, h.ID)
	if c == nil {
		// Nobody waits: the request was given up. Its frames are read and dropped.
		return r.drop(h)
	}
	r.call = c
	c.Kind, c.Status = h.Type, h.Status
	if h.Type == link.FrameFailed {
		text := make([]byte, h.Length)
		if err := r.stream.ReadFull(text); err != nil {
			return err
		}
		r.deliver(parseFailure(text))
		return nil
	}
	if h.Type == link.FrameBody || h.Type == link.FrameEnd || h.Type == link.FrameAborted {
		return fmt.Errorf("frame %s came before a head", h.Type)
	}
	var rest int
	var err error
	if c.Headers, rest, err = r.stream.ReadHead(c.Headers, h.Length); err != nil {
		return err
	}
	if c.Status < 100 || c.Status > 999 {
		return fmt.Errorf("response has the status %d", c.Status)
	}
	if cap(c.Body) < rest {
		c.Body = make([]byte, rest)
	}
	c.Body = c.Body[:rest]
	if err := r.stream.ReadFull(c.Body); err != nil {
		return err
	}
	switch h.Type {
	case link.FrameComplete, link.FrameFile:
		r.deliver(nil)
	case link.FrameDescriptor:
		if err := r.takeDescriptor(); err != nil {
			return err
		}
		r.deliver(nil)
	case link.FrameHead:
		r.body = spool.New(g.d.options.Spool, g.d.options.Log)
		if rest > 0 {
			if _, err := r.body.Write(c.Body); err != nil {
				return err
			}
		}
		c.Stream = r.body
		r.call, r.streaming = g.d.detach(c), true
		c.ready <- struct{}{}
	}
	return nil
}

func (r *reader) takeDescriptor() error {
	c := r.call
	if len(c.Body) != 8 {
		return fmt.Errorf("descriptor frame has %d bytes instead of a length", len(c.Body))
	}
	fd, err := r.stream.TakeFD()
	if err != nil {
		return err
	}
	c.FileLength = 0
	for i := 7; i >= 0; i-- {
		c.FileLength = c.FileLength<<8 | int64(c.Body[i])
	}
	c.File = os.NewFile(uintptr(fd), "response body")
	return nil
}

// deliver hands a whole response over and ends the call's time in the slot.
func (r *reader) deliver(err error) {
	c := r.call
	r.call = nil
	r.g.d.finished(r.g, c)
	c.err = err
	c.ready <- struct{}{}
}

// continued reads the frames after a head.
func (r *reader) continued(h link.FrameHeader) error {
	switch h.Type {
	case link.FrameBody:
		if cap(r.chunk) < 64<<10 {
			r.chunk = make([]byte, 64<<10)
		}
		for left := h.Length; left > 0; {
			p := r.chunk[:min(left, len(r.chunk))]
			if err := r.stream.ReadFull(p); err != nil {
				return err
			}
			left -= len(p)
			if _, err := r.body.Write(p); err != nil {
				if !errors.Is(err, spool.ErrReaderGone) {
					return err
				}
				r.abandon()
			}
		}
		return nil
	case link.FrameEnd, link.FrameAborted:
		if err := r.stream.Discard(h.Length); err != nil {
			return err
		}
		c, body := r.call, r.body
		r.call, r.body, r.streaming, r.abandoned = nil, nil, false, false
		var err error
		if h.Type == link.FrameAborted {
			err = ErrAborted
		}
		r.g.d.finished(r.g, c)
		body.CloseWrite(err)
		return nil
	}
	return fmt.Errorf("frame %s came in the middle of a response", h.Type)
}

// abandon tells the worker, once, that nobody reads its response any more.
func (r *reader) abandon() {
	if !r.abandoned {
		r.abandoned = true
		if err := r.stream.Cancel(r.call.ID); err != nil {
			r.g.d.options.Log.Warn("cannot tell an application process that a client has gone", "error", err)
		}
	}
}

// ErrAborted ends a streamed body that the app could not complete.
var ErrAborted = errors.New("the application broke off its response")

// drop reads over a frame of a response that nobody waits for.
func (r *reader) drop(h link.FrameHeader) error {
	if err := r.stream.Discard(h.Length); err != nil {
		return err
	}
	if h.Type == link.FrameDescriptor {
		fd, err := r.stream.TakeFD()
		if err != nil {
			return err
		}
		return os.NewFile(uintptr(fd), "response body").Close()
	}
	return nil
}
