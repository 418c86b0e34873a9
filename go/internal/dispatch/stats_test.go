package dispatch

import (
	"math/rand"
	"slices"
	"testing"
	"time"

	"passenger/go/internal/link"
)

func TestAHistogramTellsQuantilesWithinTheirClass(t *testing.T) {
	var h histogram
	if h.summary() != (QueueTime{}) {
		t.Errorf("an empty histogram says %+v", h.summary())
	}
	r := rand.New(rand.NewSource(1))
	var times []int64
	var sum int64
	for range 10_000 {
		ns := int64(r.ExpFloat64() * 1e6)
		times = append(times, ns)
		sum += ns
		h.add(ns)
	}
	h.add(-5) // clocks of two processors
	slices.Sort(times)
	s := h.summary()
	if s.Count != 10_001 || int64(s.Sum) != sum || int64(s.Max) != times[len(times)-1] {
		t.Errorf("%+v", s)
	}
	for q, got := range map[float64]time.Duration{0.5: s.P50, 0.95: s.P95, 0.99: s.P99} {
		exact := times[int(q*float64(len(times)))]
		if int64(got) < exact/2 || int64(got) > exact*2 {
			t.Errorf("quantile %v is %v instead of %v", q, got, time.Duration(exact))
		}
	}
	if s.P50 > s.P95 || s.P95 > s.P99 || s.P99 > s.Max {
		t.Errorf("out of order: %+v", s)
	}
}

func TestQueueTimeRunsFromSubmitUntilAWorkerTakesTheRequest(t *testing.T) {
	b := newBench(t, 0)
	seat, peers := b.silentSeat(1)
	b.d.Serve(b.g)
	submit := func(ago time.Duration) *Call {
		c := NewCall()
		c.Reset()
		c.Request.SetReceivedAt(link.Now() - int64(ago))
		c.Request.EndFields()
		if err := b.d.Submit(c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := submit(time.Second), submit(time.Second)
	b.take(seat, 0, b.g.Queue())
	// The worker has gone on to the second before the engine reads its first response.
	b.g.board.Set(seat.indexes[0], link.SlotStatus{State: link.SlotWorking, RequestID: first.ID, StartedAt: first.submitted + int64(2*time.Second)})
	b.g.board.Set(seat.indexes[0], link.SlotStatus{State: link.SlotWorking, RequestID: second.ID, StartedAt: second.submitted + int64(4*time.Second)})
	peers[0].Write(append(complete(first.ID), complete(second.ID)...))
	for _, c := range []*Call{first, second} {
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	q := b.d.Stats().QueueTime
	if q.Count != 2 || q.Sum != 6*time.Second || q.Max != 4*time.Second {
		t.Errorf("%+v", q)
	}
	peers[0].Close()
	b.finish([]*Seat{seat})
}

func TestThePeakIsTakenAndBeginsAnew(t *testing.T) {
	b := newBench(t, 0)
	seat, _, ended := b.worker(complete)
	calls := []*Call{b.submit(), b.submit(), b.submit()}
	if s := b.d.Stats(); s.Peak != 3 || s.Waiting != 3 || s.Oldest <= 0 {
		t.Errorf("while three wait: %+v", s)
	}
	b.d.Serve(b.g)
	for _, c := range calls {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	if p := b.d.TakePeak(); p != 3 {
		t.Errorf("the peak is %d", p)
	}
	if p := b.d.TakePeak(); p != 0 {
		t.Errorf("the peak of nothing is %d", p)
	}
	if s := b.d.Stats(); s.Oldest != 0 || s.QueueTime.Count == 0 || s.QueueTime.Count > 3 { // a worker can be two requests ahead of the reader
		t.Errorf("in the end: %+v", s)
	}
	b.finish([]*Seat{seat}, ended)
}
