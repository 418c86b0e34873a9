package dispatch

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
)

func connectedSockets(t *testing.T) (given *os.File, ours net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[1]), "app")
	defer file.Close()
	if ours, err = net.FileConn(file); err != nil {
		t.Fatal(err)
	}
	ours.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { ours.Close() })
	return os.NewFile(uintptr(fds[0]), "engine"), ours
}

func hijacked(id uint64, status int, body string) []byte {
	return link.AppendFrame(nil, link.FrameHijack, status, id, link.HeadPayload(nil, []byte(body)))
}

func expectClosed(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v instead of the end", n, err)
	}
}

func TestAHijackIsDeliveredAtOnceAndTheSlotIsTakenUntilTheAppReturns(t *testing.T) {
	b := newBench(t, 0)
	given, app := connectedSockets(t)
	seat, w, ended := b.worker(func(id uint64) []byte { return hijacked(id, 0, "") })
	w.Given <- given
	b.d.Serve(b.g)
	c := b.submit()
	if err := c.Wait(); err != nil || c.Kind != link.FrameHijack || c.Status != 0 || c.Socket == nil {
		t.Fatalf("%+v, %v", c, err)
	}
	if n := b.g.Unanswered(); n != 1 {
		t.Errorf("%d requests are outstanding while the app is at work", n)
	}
	if _, err := c.Socket.WriteString("hello"); err != nil {
		t.Error(err)
	}
	got := make([]byte, 5)
	if _, err := app.Read(got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := w.Slot.Write(link.AppendFrame(nil, link.FrameEnd, 0, c.ID, nil)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); b.g.Unanswered() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the slot is not free although the app has returned")
		}
	}
	c.Close()
	expectClosed(t, app)
	b.finish([]*Seat{seat}, ended)
}

func TestAWorkerThatDiesAfterAHijackLeavesNoRequestBehind(t *testing.T) {
	b := newBench(t, 0)
	given, app := connectedSockets(t)
	var id uint64
	seat, w, ended := b.worker(func(request uint64) []byte {
		if id != 0 {
			return nil
		}
		id = request
		return hijacked(request, 101, "")
	})
	w.Given <- given
	b.d.Serve(b.g)
	first, second := b.submit(), b.submit()
	if err := first.Wait(); err != nil || first.Status != 101 {
		t.Fatalf("%+v, %v", first, err)
	}
	<-ended
	seat.Close()
	if err := second.Wait(); !errors.Is(err, ErrWorkerDied) {
		t.Errorf("%v", err)
	}
	if n := b.g.Unanswered(); n != 0 {
		t.Errorf("%d requests are outstanding", n)
	}
	first.Close()
	expectClosed(t, app)
	b.finish(nil)
}

func TestAHijackOfARequestThatWasGivenUpKeepsNothing(t *testing.T) {
	b := newBench(t, 0)
	given, app := connectedSockets(t)
	seat, w, ended := b.worker(func(id uint64) []byte {
		frames := hijacked(id+1<<indexBits, 0, "")
		frames = link.AppendFrame(frames, link.FrameEnd, 0, id+1<<indexBits, nil)
		return append(frames, complete(id)...)
	})
	w.Given <- given
	b.d.Serve(b.g)
	if c := b.submit(); c.Wait() != nil || string(c.Body) != "hello" {
		t.Errorf("%+v", c)
	}
	expectClosed(t, app)
	b.finish([]*Seat{seat}, ended)
}

func TestHijacksThatBreakTheProtocolAreErrors(t *testing.T) {
	for name, frames := range map[string]func(id uint64) []byte{
		"a status below 101": func(id uint64) []byte { return hijacked(id, 100, "") },
		"a status above 999": func(id uint64) []byte { return hijacked(id, 1000, "") },
		"bytes of a body":    func(id uint64) []byte { return hijacked(id, 200, "body") },
	} {
		b := newBench(t, 0)
		given, app := connectedSockets(t)
		seat, w, ended := b.worker(frames)
		w.Given <- given
		b.d.Serve(b.g)
		if c := b.submit(); !errors.Is(c.Wait(), ErrBadResponse) {
			t.Errorf("%s: %+v", name, c)
		}
		expectClosed(t, app)
		b.finish([]*Seat{seat}, ended)
	}
}

func TestAHijackWithoutASocketIsAnError(t *testing.T) {
	b := newBench(t, 0)
	seat, _, ended := b.worker(func(id uint64) []byte { return hijacked(id, 0, "") })
	b.d.Serve(b.g)
	if c := b.submit(); !errors.Is(c.Wait(), ErrBadResponse) {
		t.Errorf("%+v", c)
	}
	b.finish([]*Seat{seat}, ended)
}

func TestNothingButItsEndFollowsAHijack(t *testing.T) {
	b := newBench(t, 0)
	given, _ := connectedSockets(t)
	broken := make(chan struct{}, 1)
	seat, peers, err := b.g.NewSeat(1, func() { broken <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	seat.Ready()
	b.d.Serve(b.g)
	c := b.submit()
	frames := link.AppendFrame(hijacked(c.ID, 0, ""), link.FrameBody, 0, c.ID, []byte("x"))
	if err := unix.Sendmsg(int(peers[0].Fd()), frames, unix.UnixRights(int(given.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	given.Close()
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-broken
	peers[0].Close()
	b.finish([]*Seat{seat})
}
