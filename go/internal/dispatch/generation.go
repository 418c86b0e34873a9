package dispatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"passenger/go/internal/link"
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
