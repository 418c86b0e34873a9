package spawn

import (
	"testing"

	"passenger/go/internal/link"
)

func TestAWorkerIsToldWhetherToKeepConnections(t *testing.T) {
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
	for want, stop := range map[string]func() error{"": w.Stop, "1": w.StopKeeping} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if m, err := theirs.Receive(); err != nil || m.Verb != "stop" || m.Get("keep_hijacked") != want {
			t.Errorf("%+v, %v", m, err)
		}
	}
	theirs.Close()
	<-gone
}
