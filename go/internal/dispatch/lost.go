package dispatch

import (
	"time"

	"passenger/go/internal/link"
)

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

// lost finds requests that were sent to the common queue of g, that no living
// slot works on and that are not in the socket any more: those that a worker took with it when
// it died before it could say so. suspects are the ids found by the call
// before; an id must be found twice to be answered, since a living worker may
// stand between receiving a request and saying so.
//
// until is the last sequence number that the dead worker can have taken;
// unsettled reports whether the fate of any request up to it is open.
func (d *Dispatcher) lost(g *Generation, until uint64, suspects map[uint64]bool) (again map[uint64]bool, unsettled bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	inWork := map[uint64]bool{}
	for i := 0; i < g.board.Slots(); i++ {
		if s := g.board.Slot(i); s.State == link.SlotWorking {
			inWork[s.RequestID] = true
		}
	}
	taken := g.board.HighestSequence()
	empty := g.queue.Pending() == 0
	again = map[uint64]bool{}
	for _, c := range d.calls {
		if c == nil || c.generation != g || c.seat != nil || c.state != callSent || inWork[c.ID] || c.ID>>indexBits > until {
			continue
		}
		unsettled = true
		if c.ID>>indexBits > taken && !empty {
			continue // still in the socket
		}
		if !suspects[c.ID] {
			again[c.ID] = true
			continue
		}
		d.settle(c)
		d.fail(c, ErrWorkerDied)
	}
	d.pump()
	return again, unsettled
}

// auditInterval is the distance at which the search for the lost requests of
// a dead worker is repeated. A request must be missing twice in a row.
const auditInterval = 400 * time.Millisecond
