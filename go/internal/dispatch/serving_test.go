package dispatch

import (
	"testing"
)

func TestIdleSlotsAreChosenBeforeBusyOnes(t *testing.T) {
	for _, c := range []struct {
		load, slots, otherLoad, otherSlots int
		want                               bool
	}{
		{0, 1, 1, 1, true},
		{1, 1, 0, 1, false},
		{1, 4, 0, 2, true},  // three idle before two
		{0, 2, 1, 4, false}, // the same from the other side
		{1, 2, 1, 2, false}, // equal: the one that was looked at first, the newer, stays
		{2, 2, 8, 4, true},  // one each before two each
		{8, 4, 2, 2, false},
		{5, 2, 1, 1, false}, // two and a half each against one each
	} {
		if got := better(c.load, c.slots, c.otherLoad, c.otherSlots); got != c.want {
			t.Errorf("%d requests on %d slots against %d on %d: %v", c.load, c.slots, c.otherLoad, c.otherSlots, got)
		}
	}
}

func TestTwoGenerationsServeSideBySide(t *testing.T) {
	b := newBench(t, 0)
	hold := make(chan struct{})
	oldBegun, newBegun := make(chan uint64, 100), make(chan uint64, 100)
	s1, _, e1 := b.worker(func(id uint64) []byte { oldBegun <- id; <-hold; return complete(id) })
	b.d.Serve(b.g)
	first := b.submit()
	if <-oldBegun != first.ID {
		t.Fatal("another request is run")
	}
	next := b.another()
	s2, _, e2 := next.worker(func(id uint64) []byte { newBegun <- id; <-hold; return complete(id) })
	b.d.Join(next.g)
	second := b.submit()
	if <-newBegun != second.ID {
		t.Fatal("the idle generation does not get the second request")
	}
	var rest []*Call
	for range 2 * lookAhead {
		rest = append(rest, b.submit())
	}
	if b.g.Unanswered() != 1+lookAhead || next.g.Unanswered() != 1+lookAhead {
		t.Errorf("busy generations have got %d and %d", b.g.Unanswered(), next.g.Unanswered())
	}
	if s := b.d.Stats(); s.Slots != 2 || s.Outstanding != 2+2*lookAhead || s.Peak != s.Outstanding {
		t.Errorf("%+v", s)
	}
	b.d.Quit(b.g)
	if n := b.g.Unanswered(); n != 1 {
		t.Errorf("the generation that has quit keeps %d requests", n)
	}
	close(hold)
	for _, c := range append(rest, first, second) {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	if len(oldBegun) != 0 {
		t.Errorf("the generation that has quit has run %d more requests", len(oldBegun))
	}
	b.finish([]*Seat{s1}, e1)
	next.finish([]*Seat{s2}, e2)
}

func TestNothingIsLeftInTheSocketWhenTheLastWorkerLeaves(t *testing.T) {
	b := newBench(t, 0)
	s1, p1 := b.silentSeat(1)
	s2, p2 := b.silentSeat(1)
	b.d.Serve(b.g)
	calls := []*Call{b.submit(), b.submit(), b.submit()}
	s1.Leaving()
	if n := b.g.Unanswered(); n != 3 {
		t.Errorf("requests are recalled although a worker is left: %d", n)
	}
	s2.Leaving()
	if s := b.d.Stats(); s.Waiting != 3 || s.Outstanding != 0 || b.g.Queue().Pending() != 0 {
		t.Errorf("%+v", s)
	}
	s2.Ready() // it comes back
	if s := b.d.Stats(); s.Waiting != 0 || s.Outstanding != 3 {
		t.Errorf("after the return: %+v", s)
	}
	s2.Leaving()
	var order []uint64
	seat, _, ended := b.worker(func(id uint64) []byte { order = append(order, id); return complete(id) })
	for i, c := range calls {
		if err := c.Wait(); err != nil {
			t.Errorf("request %d gets %v", i, err)
		}
	}
	for _, p := range append(p1, p2...) {
		p.Close()
	}
	b.finish([]*Seat{s1, s2, seat}, ended)
	for i, c := range calls {
		if order[i] != c.ID {
			t.Fatal("the requests were served out of order")
		}
	}
}

// A worker that leaves with a long request does not count for those that stay.
func TestTheWorkOfALeavingWorkerIsNotTheOthers(t *testing.T) {
	b := newBench(t, 0)
	leaving, peers := b.silentSeat(1)
	b.d.Serve(b.g)
	c := b.submit()
	b.take(leaving, 0, b.g.Queue())
	stays, others := b.silentSeat(1)
	leaving.Leaving()
	b.d.mu.Lock()
	load := b.g.load()
	b.d.mu.Unlock()
	if load != 0 || b.d.Short() {
		t.Errorf("the load of the worker that stays is %d", load)
	}
	for _, p := range append(peers, others...) {
		p.Close()
	}
	leaving.Close()
	if err := c.Wait(); err != ErrWorkerDied {
		t.Errorf("the request gets %v", err)
	}
	stays.Close()
	b.finish(nil)
}

func TestWhatIsRecalledWhileRequestsAreRefusedIsRefused(t *testing.T) {
	b := newBench(t, 0)
	seat, peers := b.silentSeat(1)
	b.d.Serve(b.g)
	c := b.submit()
	b.d.Refuse(ErrShuttingDown)
	if err := b.g.Drain(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != ErrShuttingDown {
		t.Errorf("the request gets %v", err)
	}
	peers[0].Close()
	b.finish([]*Seat{seat})
}
