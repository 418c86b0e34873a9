package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync"

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
	serving     bool
	slots       int // of ready workers
	outstanding int // sent and not finished
	behind      int // of them, in direct queues and more than the workers have slots for
	seats       []*Seat
	left        []*Seat // of them, those that take no more requests and have not ended

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
	d.mu.Lock()
	d.generations = append(d.generations, g)
	d.mu.Unlock()
	return g, nil
}

// Number counts the generations of this server, from 1.
func (g *Generation) Number() int { return g.number }

// Queue is the socket workers receive from.
func (g *Generation) Queue() *link.Queue { return g.queue }

// Board is the scoreboard of the generation.
func (g *Generation) Board() *link.Scoreboard { return g.board }

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

// Drain ends the generation's share of new requests (Quit) and tells its
// workers to leave after what they have begun.
func (g *Generation) Drain() error {
	g.d.Quit(g)
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
			d.settle(c)
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
	g.d.Quit(g)
	g.FailRest(ErrWorkerDied)
	g.d.mu.Lock()
	g.d.generations = slices.DeleteFunc(g.d.generations, func(o *Generation) bool { return o == g })
	g.d.mu.Unlock()
	return errors.Join(g.queue.Close(), g.board.Close())
}
