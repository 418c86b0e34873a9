package dispatch

import (
	"slices"
	"testing"
	"time"
)

func (b *bench) submitTo(worker uint32) *Call {
	b.Helper()
	c := NewCall()
	c.Reset()
	c.Sticky = worker
	c.Request.EndFields()
	if err := b.d.Submit(c); err != nil {
		b.Fatal(err)
	}
	return c
}

func TestARequestGoesToTheWorkerItAsksFor(t *testing.T) {
	b := newBenchWith(t, Options{Sticky: true})
	var seats []*Seat
	var ends []chan struct{}
	for range 3 {
		seat, _, ended := b.worker(complete)
		seats, ends = append(seats, seat), append(ends, ended)
	}
	b.d.Serve(b.g)
	if seats[0].ID() == 0 || seats[0].ID() == seats[1].ID() || seats[1].ID() == seats[2].ID() {
		t.Error("the workers' ids are not distinct")
	}
	for i := range 60 {
		wanted := seats[i%3].ID()
		c := b.submitTo(wanted)
		if err := c.Wait(); err != nil || c.Worker != wanted {
			t.Fatalf("request for %d is answered by %d, %v", wanted, c.Worker, err)
		}
	}
	for _, stranger := range []uint32{0, 12345} {
		c := b.submitTo(stranger)
		if err := c.Wait(); err != nil || !slices.ContainsFunc(seats, func(s *Seat) bool { return s.ID() == c.Worker }) {
			t.Errorf("request for %d is answered by %d, %v", stranger, c.Worker, err)
		}
	}
	b.finish(seats, ends...)
}

func TestARequestWaitsForItsWorkerThoughOthersAreIdle(t *testing.T) {
	b := newBenchWith(t, Options{Sticky: true, MaxWaiting: 3})
	hold, begun := make(chan struct{}), make(chan uint64, 100)
	busy, _, e1 := b.worker(func(id uint64) []byte { begun <- id; <-hold; return complete(id) })
	idle, _, e2 := b.worker(complete)
	b.d.Serve(b.g)
	var calls []*Call
	for range 1 + lookAhead + 3 {
		calls = append(calls, b.submitTo(busy.ID()))
	}
	c := NewCall()
	c.Reset()
	c.Sticky = busy.ID()
	c.Request.EndFields()
	if err := b.d.Submit(c); err != ErrQueueFull {
		t.Errorf("one more gets %v", err)
	}
	<-begun
	if s := b.d.Stats(); s.Waiting != 3 || s.Outstanding != 1+lookAhead || s.Oldest == 0 || s.QueueFull != 1 {
		t.Errorf("%+v", s)
	}
	// Those for anybody are not held up by that.
	for range 20 {
		other := b.submit()
		if err := other.Wait(); err != nil || other.Worker != idle.ID() {
			t.Fatalf("answered by %d, %v", other.Worker, err)
		}
	}
	close(hold)
	for _, c := range calls {
		if err := c.Wait(); err != nil || c.Worker != busy.ID() {
			t.Errorf("answered by %d, %v", c.Worker, err)
		}
	}
	b.finish([]*Seat{busy, idle}, e1, e2)
}

func TestRequestsForAWorkerThatLeavesGoToOthers(t *testing.T) {
	for name, leave := range map[string]func(b *bench, s *Seat){
		"leaves": func(b *bench, s *Seat) { s.Leaving() },
		"dies":   func(b *bench, s *Seat) { s.Close() },
		"quits":  func(b *bench, s *Seat) { b.d.Quit(b.g); b.d.Join(b.g) },
	} {
		b := newBenchWith(t, Options{Sticky: true})
		seat, peers := b.silentSeat(1)
		b.d.Serve(b.g)
		var calls []*Call
		for range lookAhead + 4 {
			calls = append(calls, b.submitTo(seat.ID()))
		}
		if name == "dies" {
			peers[0].Close()
		}
		leave(b, seat)
		eventually(t, name+": the return of the requests to the line", func() bool {
			b.d.mu.Lock()
			defer b.d.mu.Unlock()
			return seat.underway == 0 && seat.line.first == nil
		})
		other, _, ended := b.worker(complete)
		for i, c := range calls {
			if err := c.Wait(); err != nil || c.Worker != other.ID() {
				t.Errorf("%s: request %d is answered by %d, %v", name, i, c.Worker, err)
			}
		}
		peers[0].Close()
		b.finish([]*Seat{seat, other}, ended)
	}
}

func TestADirectRequestThatItsDeadWorkerHasTakenIsAnsweredAtOnce(t *testing.T) {
	b := newBenchWith(t, Options{Sticky: true})
	seat, peers := b.silentSeat(1)
	b.d.Serve(b.g)
	lost := b.submitTo(seat.ID())
	if ids := seat.direct.Drain(); len(ids) != 1 {
		t.Fatalf("taken: %v", ids)
	}
	rest := b.submitTo(seat.ID())
	begin := time.Now()
	peers[0].Close()
	seat.Close()
	if err := lost.Wait(); err != ErrWorkerDied || time.Since(begin) > 10*time.Second {
		t.Errorf("the lost request gets %v after %v", err, time.Since(begin))
	}
	other, _, ended := b.worker(complete)
	if err := rest.Wait(); err != nil {
		t.Errorf("the other request gets %v", err)
	}
	b.finish([]*Seat{other}, ended)
}

// Direct requests have higher numbers than older ones in the common queue. They
// must not make these count as taken when a worker has died.
func TestACommonRequestIsNotLostBecauseOfADirectOne(t *testing.T) {
	b := newBenchWith(t, Options{Sticky: true})
	hold := make(chan struct{})
	begun := make(chan struct{}, 10)
	lives, _, e1 := b.worker(func(id uint64) []byte { begun <- struct{}{}; <-hold; return complete(id) })
	victim, peers := b.silentSeat(1)
	b.d.Serve(b.g)
	first := b.submitTo(lives.ID())
	<-begun
	waits := b.submit() // in the common queue
	after := b.submitTo(lives.ID())
	peers[0].Close()
	victim.Close()
	time.Sleep(3 * auditInterval)
	close(hold)
	for i, c := range []*Call{first, waits, after} {
		if err := c.Wait(); err != nil {
			t.Errorf("request %d gets %v", i, err)
		}
	}
	b.finish([]*Seat{lives}, e1)
}

func TestAnAbandonedDirectRequestIsTakenOut(t *testing.T) {
	b := newBenchWith(t, Options{Sticky: true})
	hold, begun := make(chan struct{}), make(chan uint64, 10)
	seat, _, ended := b.worker(func(id uint64) []byte { begun <- id; <-hold; return complete(id) })
	b.d.Serve(b.g)
	first := b.submitTo(seat.ID())
	<-begun
	server, client := connect(t)
	gone := NewCall()
	gone.Reset()
	gone.Client, gone.Sticky = server, seat.ID()
	gone.Request.EndFields()
	if err := b.d.Submit(gone); err != nil {
		t.Fatal(err)
	}
	last := b.submitTo(seat.ID())
	client.Close()
	if err := gone.Wait(); err != ErrClientGone {
		t.Errorf("the abandoned request gets %v", err)
	}
	close(hold)
	for _, c := range []*Call{first, last} {
		if err := c.Wait(); err != nil || c.Worker != seat.ID() {
			t.Errorf("answered by %d, %v", c.Worker, err)
		}
	}
	b.finish([]*Seat{seat}, ended)
	if len(begun) != 1 {
		t.Errorf("%d more requests have been run instead of 1", len(begun))
	}
}
