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
	// MaxQueueTime is how long a request may wait for a worker; 0 means any time.
	MaxQueueTime time.Duration
	// Sticky gives each worker a queue of its own, for calls that ask for it.
	Sticky bool
	// Spool bounds what is held of a response for a slow client.
	Spool spool.Limits
	// StreamSpool says the same of a response that is streamed, by its headers;
	// nil: Spool holds for all.
	StreamSpool func(link.Headers) spool.Limits
	Log         *slog.Logger
	// ClientGone is called, without any lock, when the client of a streamed
	// response has gone: the worker may not be writing to it, and should be told
	// in a way that it hears at any time. May be nil.
	ClientGone func(s *Seat, slot int, id uint64)
	// Pressure is called, without any lock, when a request has to wait although
	// a generation is serving. It must not block.
	Pressure func()
}

// Dispatcher is the line of requests before the workers. All methods may be
// called from any goroutine.
type Dispatcher struct {
	options Options

	mu          sync.Mutex
	generations []*Generation // all that are not closed
	serving     []*Generation // take new requests, in the order in which they joined; none while the app boots
	refusal     error         // answer to every new request, if not nil
	sequence    uint64
	calls       []*Call  // by index; nil where free
	free        []uint32 // free indexes
	line        line     // of requests that any worker may take
	waiting     int      // in this line and those of the seats
	seats       map[uint32]*Seat
	back        []*Call // on the way from a queue to a line

	requests, abandoned, full, timeouts uint64
	peak                                int
	queueTime                           histogram

	probe    *probe
	watching bool // sweep will be called
	sweeper  *time.Timer

	// Of the sweep that runs; there is never more than one, and it needs no lock.
	glance   glance
	suspects []suspect

	open            int  // responses that are streamed
	watchingStreams bool // sweepStreams will be called
	streamSweeper   *time.Timer

	// Of the sweep of streams.
	streamGlance glance
	streamed     []streamSuspect
}

// New makes a dispatcher that has no generation yet: requests wait.
func New(options Options) *Dispatcher {
	d := &Dispatcher{options: options, seats: map[uint32]*Seat{}, probe: newProbe(), glance: newGlance(), streamGlance: newGlance()}
	d.sweeper = time.AfterFunc(time.Hour, d.sweep)
	d.sweeper.Stop()
	d.streamSweeper = time.AfterFunc(time.Hour, d.sweepStreams)
	d.streamSweeper.Stop()
	return d
}

// Submit puts a call in line. The caller then calls Wait, and must not touch
// the call before that has returned.
func (d *Dispatcher) Submit(c *Call) error {
	if c.Request.Len() > link.MaxMessage {
		return ErrTooLarge
	}
	submitted := c.Request.ReceivedAt()
	if submitted == 0 {
		submitted = link.Now()
	}
	d.mu.Lock()
	if d.refusal != nil {
		err := d.refusal
		d.mu.Unlock()
		return err
	}
	d.requests++
	c.ticket, c.submitted, c.gone = d.requests, submitted, false
	if s := d.wanted(c); s != nil {
		err := d.submitTo(s, c)
		d.mu.Unlock()
		return err
	}
	if d.line.first == nil {
		if g := d.choose(); g != nil && d.send(g, nil, c) {
			short := g.load() > g.slots
			d.mu.Unlock()
			if short {
				d.options.Pressure()
			}
			return nil
		}
	}
	err := d.wait(&d.line, c)
	served := len(d.serving) > 0
	d.mu.Unlock()
	if err == nil && served {
		d.options.Pressure()
	}
	return err
}

// send hands a call to the kernel, in the queue of g or the direct one of s if
// that is not nil; d.mu is held. False: no room there now.
func (d *Dispatcher) send(g *Generation, s *Seat, c *Call) bool {
	queue := g.queue
	if s != nil {
		queue = s.direct
	}
	index := d.claim(c)
	d.sequence++
	c.index = index
	c.ID = d.sequence<<indexBits | uint64(index)
	c.state, c.generation, c.seat, c.taken = callSent, g, s, false
	c.Request.SetID(c.ID)
	err := queue.Send(c.Request.Bytes(), c.BodyFile)
	if err == nil {
		g.outstanding++
		if s != nil {
			s.underway++
			if s.underway > len(s.indexes) {
				g.behind++
			}
		}
		d.note()
		d.watch()
		return true
	}
	d.sequence--
	d.release(c)
	if !errors.Is(err, link.ErrQueueBusy) {
		// Nothing can be sent there any more: its requests wait for others.
		d.options.Log.Error("cannot hand requests to the application processes", "generation", g.number, "direct", s != nil, "error", err)
		if s != nil {
			d.silence(s)
		} else {
			d.quit(g)
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
	c.state, c.generation, c.seat = callNew, nil, nil
}

// settle takes a call that was sent out of the books; d.mu is held.
func (d *Dispatcher) settle(c *Call) {
	g := c.generation
	g.outstanding--
	if s := c.seat; s != nil {
		if s.underway > len(s.indexes) {
			g.behind--
		}
		s.underway--
	}
	d.release(c)
}

// call finds a call that has been sent by its id, nil if there is none.
func (d *Dispatcher) call(id uint64) *Call {
	index := int(id & indexMask)
	if index >= len(d.calls) {
		return nil
	}
	if c := d.calls[index]; c != nil && c.ID == id {
		return c
	}
	return nil
}

// fail answers a call that has no response; d.mu is held and the call is
// neither in line nor in the table any more.
func (d *Dispatcher) fail(c *Call, err error) {
	c.state = callNew
	c.answer(err)
}

// Refuse gives every waiting and every new request err for an answer, until
// Accept, Serve or Join.
func (d *Dispatcher) Refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusal = err
	d.empty(&d.line, err)
	for _, s := range d.seats {
		d.empty(&s.line, err)
	}
}

func (d *Dispatcher) empty(l *line, err error) {
	for l.first != nil {
		c := l.first
		d.leave(c)
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

// answering finds the call a response of slot i belongs to and lets the caller
// fill it in. nil when nobody waits for it any more.
func (d *Dispatcher) answering(g *Generation, i int, id uint64) *Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.call(id)
	if c == nil || c.state != callSent || c.generation != g {
		return nil
	}
	c.state = callAnswering
	if startedAt := g.board.StartedAt(i, id); startedAt != 0 && !c.expired {
		d.queueTime.add(startedAt - c.submitted)
	}
	return c
}

// detach puts a stand-in in the place of a call whose head is about to be
// delivered: the call itself goes back to its owner while the slot is still at
// work. d.mu is held.
func (d *Dispatcher) detach(c *Call) *Call {
	rest := &Call{
		ID: c.ID, index: c.index, state: c.state, submitted: c.submitted, generation: c.generation, seat: c.seat, taken: true,
		Stream: c.Stream, Offer: c.Offer,
	}
	d.calls[c.index] = rest
	c.state, c.generation, c.seat = callNew, nil, nil
	return rest
}

// finished says that the slot is done with the call: it makes room for the
// next one. Only the slot's reader calls it, once for each answering.
func (d *Dispatcher) finished(c *Call) {
	d.mu.Lock()
	s := c.seat
	if c.open != nil {
		d.endStream(c)
	}
	d.settle(c)
	if d.waiting > 0 {
		if s != nil {
			d.pumpTo(s)
		}
		d.pump()
	}
	d.mu.Unlock()
}
