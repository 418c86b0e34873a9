package spawn

import (
	"testing"
	"time"

	"passenger/go/internal/link"
)

func TestAWorkerIsToldWhatBecomesOfItsConnections(t *testing.T) {
	engine, peer, err := link.NewControlPair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := link.NewControl(peer)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	w := newWorker(1, engine, func(e Event) {
		if _, ok := e.(WorkerGone); ok {
			close(gone)
		}
	})
	for _, test := range []struct {
		farewell     Farewell
		keep, spread string
	}{{Farewell{Keep: true}, "1", ""}, {Farewell{Spread: 1500 * time.Millisecond}, "", "1500"}, {Farewell{}, "", "0"}} {
		if err := w.Stop(test.farewell); err != nil {
			t.Fatal(err)
		}
		m, err := theirs.Receive()
		if err != nil || m.Verb != "stop" || m.Get("keep_hijacked") != test.keep || m.Get("spread_ms") != test.spread {
			t.Errorf("%+v: %+v, %v", test.farewell, m, err)
		}
	}
	theirs.Close()
	<-gone
}

func TestAWorkerThatHasTakenLeaveIsHeard(t *testing.T) {
	w := &Worker{Number: 7}
	if e := w.event(link.Message{Verb: "farewell_over"}); e != (FarewellOver{Worker: 7}) {
		t.Errorf("farewell_over became %#v", e)
	}
}
