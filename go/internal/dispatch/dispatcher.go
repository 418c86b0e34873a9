package dispatch

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"passenger/go/internal/link"
	"passenger/go/internal/spool"
)

// lookAhead is how many requests beyond its slots a generation may hold in
// its queue socket, per slot: a worker that finishes finds its next request
// there without anyone being woken. Measured with a hello-world app, four are
// worth a tenth in requests/s over one. What is in the socket is out of sight,
// and taken back only for a restart, so it is as little as does that.
const lookAhead = 4

// A request id is the sequence number of the request over the index of its call.
const (
	indexBits = 24
	indexMask = 1<<indexBits - 1
)

// Options of a Dispatcher.
type Options struct {
	// MaxWaiting is how many requests may wait in line; 0 means any number.
	MaxWaiting int
	// Spool bounds what is held of a response for a slow client.
	Spool spool.Limits
	Log   *slog.Logger
	// Pressure is called, without any lock, when a request has to wait although
	// a generation is serving. It must not block.
	Pressure func()
}

// Dispatcher is the line of requests before the workers. All methods may be
// called from any goroutine.
type Dispatcher struct {
	options Options

	mu       sync.Mutex
	current  *Generation // takes new requests; nil while the app boots
	refusal  error       // answer to every new request, if not nil
	sequence uint64
	calls    []*Call  // by index; nil where free
	free     []uint32 // free indexes
	first    *Call
	last     *Call
	waiting  int

	requests uint64
}

// New makes a dispatcher that has no generation yet: requests wait.
func New(options Options) *Dispatcher { return &Dispatcher{options: options} }

// Submit puts a call in line. The caller then calls Wait, and must not touch
// the call before that has returned.
func (d *Dispatcher) Submit(c *Call) error {
	if c.Request.Len() > link.MaxMessage {
		return ErrTooLarge
	}
	d.mu.Lock()
	if d.refusal != nil {
		err := d.refusal
		d.mu.Unlock()
		return err
	}
	d.requests++
	g := d.current
	if d.first == nil && g != nil && g.hasCredit() && d.send(g, c) {
		short := g.outstanding > g.slots
		d.mu.Unlock()
		if short {
			d.options.Pressure()
		}
		return nil
	}
	if d.options.MaxWaiting > 0 && d.waiting >= d.options.MaxWaiting {
		d.mu.Unlock()
		return ErrQueueFull
	}
	d.append(c)
	d.mu.Unlock()
	if g != nil {
		d.options.Pressure()
	}
	return nil
}

// send hands a call to the kernel; d.mu is held. False: no room there now.
func (d *Dispatcher) send(g *Generation, c *Call) bool {
	index := d.claim(c)
	d.sequence++
	c.index = index
	c.ID = d.sequence<<indexBits | uint64(index)
	c.state, c.generation = callSent, g
	c.Request.SetID(c.ID)
	err := g.queue.Send(c.Request.Bytes(), c.BodyFile)
	if err == nil {
		g.outstanding++
		return true
	}
	d.sequence--
	d.release(c)
	if !errors.Is(err, link.ErrQueueBusy) {
		// Nothing can be sent to this generation any more: its requests wait for the next.
		d.options.Log.Error("cannot hand requests to the application processes", "generation", g.number, "error", err)
		if d.current == g {
			d.current = nil
		}
	}
	return false
}

func (d *Dispatcher) claim(c *Call) uint32 {
	if n := len(d.free); n > 0 {
		index := d.free[n-1]
		d.free = d.free[:n-1]
		d.calls[index] = c
		return index
	}
	d.calls = append(d.calls, c)
	return uint32(len(d.calls) - 1)
}

func (d *Dispatcher) release(c *Call) {
	d.calls[c.index] = nil
	d.free = append(d.free, c.index)
	c.state, c.generation = callNew, nil
}

func (d *Dispatcher) append(c *Call) {
	c.state = callWaiting
	c.prev, c.next = d.last, nil
	if d.last != nil {
		d.last.next = c
	} else {
		d.first = c
	}
	d.last = c
	d.waiting++
}

func (d *Dispatcher) remove(c *Call) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		d.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		d.last = c.prev
	}
	c.prev, c.next = nil, nil
	d.waiting--
}

// pump sends what waits as far as there is credit; d.mu is held.
func (d *Dispatcher) pump() {
	for d.first != nil && d.current != nil && d.current.hasCredit() {
		c := d.first
		d.remove(c)
		if !d.send(d.current, c) {
			d.putBack(c)
			return
		}
	}
}

// putBack returns a call to the head of the line.
func (d *Dispatcher) putBack(c *Call) {
	c.state = callWaiting
	c.prev, c.next = nil, d.first
	if d.first != nil {
		d.first.prev = c
	} else {
		d.last = c
	}
	d.first = c
	d.waiting++
}

// fail answers a call that has no response; d.mu is held and the call is
// neither in line nor in the table any more.
func (d *Dispatcher) fail(c *Call, err error) {
	c.state = callNew
	c.err = err
	c.ready <- struct{}{}
}

// Serve makes g the generation that takes requests, and starts with those
// that wait. Requests that lie in the socket of the former one go to g, too:
// its workers are busy, or they would have taken them.
func (d *Dispatcher) Serve(g *Generation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.current; old != nil && old != g {
		d.recall(old)
	}
	d.current, d.refusal = g, nil
	d.pump()
}

// recall takes requests that no worker has received back to the head of the
// line; d.mu is held.
func (d *Dispatcher) recall(g *Generation) {
	ids := g.queue.Drain()
	for i := len(ids) - 1; i >= 0; i-- {
		index := int(ids[i] & indexMask)
		if index >= len(d.calls) {
			continue
		}
		if c := d.calls[index]; c != nil && c.ID == ids[i] && c.state == callSent {
			g.outstanding--
			d.release(c)
			d.putBack(c)
		}
	}
}

// Refuse gives every waiting and every new request err for an answer, until
// Accept or Serve.
func (d *Dispatcher) Refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusal = err
	for d.first != nil {
		c := d.first
		d.remove(c)
		d.fail(c, err)
	}
}

// Accept lets requests wait in line again.
func (d *Dispatcher) Accept() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusal = nil
}

// Refusal is the answer that requests get at present, nil if they are served.
func (d *Dispatcher) Refusal() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refusal
}

// Stats are figures of the line.
type Stats struct {
	Waiting     int
	Outstanding int
	Slots       int
	Requests    uint64
}

// Stats takes a snapshot.
func (d *Dispatcher) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Stats{Waiting: d.waiting, Requests: d.requests}
	if g := d.current; g != nil {
		s.Outstanding, s.Slots = g.outstanding, g.slots
	}
	return s
}

// Short reports whether requests wait although every slot has work.
func (d *Dispatcher) Short() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil {
		return d.waiting > 0
	}
	return d.waiting > 0 || d.current.outstanding > d.current.slots
}

// answering finds the call a response belongs to and lets the caller fill it
// in. nil when nobody waits for it any more.
func (d *Dispatcher) answering(g *Generation, id uint64) *Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	index := int(id & indexMask)
	if index >= len(d.calls) {
		return nil
	}
	c := d.calls[index]
	if c == nil || c.ID != id || c.state != callSent || c.generation != g {
		return nil
	}
	c.state = callAnswering
	return c
}

// detach puts a stand-in in the place of a call whose head has been delivered:
// the call itself goes back to its owner while the slot is still at work.
func (d *Dispatcher) detach(c *Call) *Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := &Call{ID: c.ID, index: c.index, state: c.state, generation: c.generation}
	d.calls[c.index] = rest
	c.state, c.generation = callNew, nil
	return rest
}

// finished says that the slot is done with the call: it makes room for the
// next one. Only the slot's reader calls it, once for each answering.
func (d *Dispatcher) finished(g *Generation, c *Call) {
	d.mu.Lock()
	g.outstanding--
	d.release(c)
	if d.first != nil {
		d.pump()
	}
	d.mu.Unlock()
}

// lost finds requests that were sent to g, that no living slot works on and
// that are not in the socket any more: those that a worker took with it when
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
		if c == nil || c.generation != g || c.state != callSent || inWork[c.ID] || c.ID>>indexBits > until {
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
		g.outstanding--
		d.release(c)
		d.fail(c, ErrWorkerDied)
	}
	d.pump()
	return again, unsettled
}

// auditInterval is the distance at which the search for the lost requests of
// a dead worker is repeated. A request must be missing twice in a row.
const auditInterval = 400 * time.Millisecond
