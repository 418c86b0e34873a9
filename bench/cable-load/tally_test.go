package main

import (
	"testing"
	"time"
)

func TestWhatIsLateOrTwiceIsToldFromWhatIsLost(t *testing.T) {
	f, err := newFleet()
	if err != nil {
		t.Fatal(err)
	}
	f.sockets, f.published = []*socket{{}, {closed: true, stream: 1}}, []int{7, 2}
	for _, number := range []int{1, 2, 5, 3, 5, 6} {
		f.tally.count(f.sockets[0], number, time.Duration(number)*time.Millisecond, time.Second)
	}
	answer, err := f.report(command{})
	if err != nil {
		t.Fatal(err)
	}
	got := answer.(tally)
	// 4 and 7 of the first socket, both of the second.
	if got.Received != 6 || got.Disordered != 1 || got.Repeated != 1 || got.Lost != 4 || got.P50 != 0.003 || got.Max != 0.006 || got.Last != 1 {
		t.Errorf("%+v", got)
	}
	f.published[0] = 8
	f.tally.count(f.sockets[0], 8, time.Millisecond, time.Second)
	answer, err = f.report(command{})
	if got := answer.(tally); err != nil || got.Received != 1 || got.Lost != 0 || got.Disordered != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestQuantilesAreValuesThatWereMeasured(t *testing.T) {
	var values []time.Duration
	for n := range 200 {
		values = append(values, time.Duration(n+1)*time.Second)
	}
	for share, want := range map[float64]float64{0.5: 100, 0.99: 198, 1: 200} {
		if got := quantile(values, share); got != want {
			t.Errorf("%v: %v", share, got)
		}
	}
	if quantile(nil, 0.99) != 0 {
		t.Error("of nothing")
	}
}
