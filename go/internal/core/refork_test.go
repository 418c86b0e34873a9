package core

import (
	"testing"

	"passenger/go/internal/link"
	"passenger/go/internal/pool"
	"passenger/go/internal/spawn"
)

// promotable has a worker of g asked to fork a preloader; peer is that one's end
// of its control socket.
func promotable(t *testing.T, s *supervisor, w *worker) (peer interface{ Read([]byte) (int, error) }) {
	t.Helper()
	control, file, err := link.NewControlPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	s.refork = refork{worker: w.number, control: control}
	return file
}

func TestAPreloaderForkedFromOldCodeDoesNotTakeOverFromNewCode(t *testing.T) {
	s := newIdleSupervisor(t)
	old, w := seated(t, s, 1, pool.GenerationRetiring)
	s.retiring[old] = true
	s.current, _ = seated(t, s, 2, pool.GenerationServing)
	peer := promotable(t, s, w)
	s.promoted(spawn.Promoted{Worker: w.number, PID: 1})
	if s.next != nil {
		t.Fatal("the code of a generation that is being replaced boots again")
	}
	if n, err := peer.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("its preloader is told something: %d bytes, %v", n, err)
	}
	if s.refork.worker != 0 || s.refork.control != nil {
		t.Error("the refork goes on")
	}
}

func TestAWorkerOfOldCodeIsStoppedAndNotAskedForAPreloader(t *testing.T) {
	s := newIdleSupervisor(t)
	old, w := seated(t, s, 1, pool.GenerationRetiring)
	s.retiring[old] = true
	s.current, _ = seated(t, s, 2, pool.GenerationServing)
	w.retiring = pool.ReasonRefork
	s.refork.worker = w.number
	if s.shouldPromote(w) {
		t.Error("it is to fork a preloader of old code")
	}
	if s.refork.worker != 0 {
		t.Error("the refork is not given up")
	}
	w.generation, s.refork.worker = s.current, w.number
	if !s.shouldPromote(w) {
		t.Error("a worker of the code that serves is not to fork a preloader")
	}
}
