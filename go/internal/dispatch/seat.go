package dispatch

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"passenger/go/internal/link"
)

// Seat is the place of one worker in a generation: its slots.
type Seat struct {
	g       *Generation
	indexes []int
	place   int // among the workers on the scoreboard
	streams []*link.SlotStream
	readers sync.WaitGroup

	served  atomic.Uint64 // requests that the worker is done with
	alarmAt uint64
	alarm   func()

	direct *link.Queue // the worker's own; nil without sticky sessions, and when it has ended
	peer   *os.File    // the worker's end of it

	// Guarded by d.mu.
	id        uint32
	ready     bool
	deaf      bool // nothing can be sent to it directly
	ended     bool
	line      line // for the direct queue
	underway  int  // sent directly and not finished
	streaming int  // responses that the worker sends piece by piece
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
	if peers, err = seat.open(); err != nil {
		for _, s := range seat.streams {
			s.Close()
		}
		for _, p := range peers {
			p.Close()
		}
		g.returnSlots(indexes)
		return nil, nil, err
	}
	g.d.mu.Lock()
	seat.id = g.d.newSeatID()
	seat.place = g.board.TakePlace()
	g.d.seats[seat.id] = seat
	g.seats = append(g.seats, seat)
	g.d.mu.Unlock()
	for i := range seat.streams {
		index, stream := seat.indexes[i], seat.streams[i]
		seat.readers.Add(1)
		g.background.Add(1)
		go func() {
			defer g.background.Done()
			defer seat.readers.Done()
			seat.read(index, stream, broken)
		}()
	}
	return seat, peers, nil
}

// open makes the sockets of the seat.
func (s *Seat) open() (peers []*os.File, err error) {
	for range s.indexes {
		stream, peer, err := link.NewSlotStream()
		if err != nil {
			return peers, err
		}
		s.streams = append(s.streams, stream)
		peers = append(peers, peer)
	}
	if s.g.d.options.Sticky {
		return peers, s.openDirect()
	}
	return peers, nil
}

// Alarm has a function called when the worker is done with that many requests.
// It must be set before Ready; the function must not block.
func (s *Seat) Alarm(requests uint64, alarm func()) { s.alarmAt, s.alarm = requests, alarm }

// Served is how many requests the worker is done with, as its responses say.
func (s *Seat) Served() uint64 { return s.served.Load() }

func (s *Seat) countRequest() {
	if s.served.Add(1) == s.alarmAt && s.alarm != nil {
		s.alarm()
	}
}

// ID names the worker for as long as it lives. It cannot be guessed from
// others, and is never 0.
func (s *Seat) ID() uint32 { return s.id }

// DirectPeer is the worker's end of its own queue, which the caller passes on
// and closes; nil if the workers have none (Options.Sticky).
func (s *Seat) DirectPeer() *os.File { return s.peer }

// Place is the worker's place among the workers on the scoreboard.
func (s *Seat) Place() int { return s.place }

// Slots are the scoreboard indexes of the seat.
func (s *Seat) Slots() []int { return s.indexes }

// Ready gives the generation the credit of the seat's slots.
func (s *Seat) Ready() {
	d := s.g.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if !s.ready && !s.ended {
		s.ready = true
		s.g.slots += len(s.indexes)
		s.g.left = slices.DeleteFunc(s.g.left, func(o *Seat) bool { return o == s })
		d.pump()
	}
}

// Leaving takes the credit back: the worker receives no further requests. Those
// that wait for this worker alone, and all if none is left to take what the
// common queue holds, return to the head of the line. A worker may come back
// (Ready).
func (s *Seat) Leaving() {
	d := s.g.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.ready {
		s.ready = false
		s.g.slots -= len(s.indexes)
		s.g.left = append(s.g.left, s)
		d.takeBackFrom(s)
		if s.g.slots == 0 {
			d.takeBack(s.g, nil)
		}
		d.requeue()
		d.pump()
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
		s.ended = true
		delete(g.d.seats, s.id)
		isThis := func(o *Seat) bool { return o == s }
		g.seats, g.left = slices.DeleteFunc(g.seats, isThis), slices.DeleteFunc(g.left, isThis)
		g.d.closeDirect(s)
		for _, i := range s.indexes {
			g.board.Vacate(i)
		}
		g.freeSlots = append(g.freeSlots, s.indexes...)
		g.board.LeavePlace(s.place)
		until := g.d.sequence
		g.d.pump()
		g.d.mu.Unlock()
		g.audit(until)
	}()
}
