package tunnel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// rig is an open tunnel with both of its other ends.
type rig struct {
	testing.TB
	set    *Set
	client *net.TCPConn
	app    *net.UnixConn
}

// newRig opens a tunnel with what change makes of its ends.
func newRig(t testing.TB, set *Set, change func(*Ends)) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	engine, app := socketPair(t)
	e := Ends{Client: accepted, Close: accepted.Close, App: engine, Worker: 7}
	if change != nil {
		change(&e)
	}
	if err := set.Open(e); err != nil {
		t.Fatal(err)
	}
	r := &rig{t, set, client.(*net.TCPConn), app}
	for _, c := range []net.Conn{client, app} {
		c.SetDeadline(time.Now().Add(patience))
	}
	t.Cleanup(func() {
		client.Close()
		app.Close()
	})
	return r
}

func socketPair(t testing.TB) (*os.File, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[1]), "app")
	defer file.Close()
	app, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "engine"), app.(*net.UnixConn)
}

func (r *rig) awaitCount(n int) {
	r.Helper()
	for end := time.Now().Add(patience); r.set.Count() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("%d tunnels are open instead of %d", r.set.Count(), n)
		}
	}
}

func (r *rig) send(to io.Writer, text string) {
	r.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) expect(from io.Reader, text string) {
	r.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != text {
		r.Fatalf("%q, %v instead of %q", got, err, text)
	}
}

func (r *rig) expectEnd(from io.Reader) {
	r.Helper()
	if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
		r.Fatalf("%q, %v instead of the end", rest, err)
	}
}

func TestHeadAndEarlyBytesComeFirst(t *testing.T) {
	r := newRig(t, new(Set), func(e *Ends) { e.Head, e.Early = []byte("head "), []byte("early ") })
	r.send(r.client, "up")
	r.send(r.app, "down")
	r.expect(r.app, "early up")
	r.expect(r.client, "head down")
}

func TestTheEndOfEachDirectionIsPassedOnByItself(t *testing.T) {
	r := newRig(t, new(Set), nil)
	r.send(r.client, "question")
	r.client.CloseWrite()
	r.expect(r.app, "question")
	r.expectEnd(r.app)
	r.send(r.app, "answer")
	r.expect(r.client, "answer")
	r.app.Close()
	r.expectEnd(r.client)
	r.awaitCount(0)
}

func TestAnAppThatHasEndedItsSideGoesOnReading(t *testing.T) {
	r := newRig(t, new(Set), nil)
	r.send(r.app, "answer")
	r.app.CloseWrite()
	r.expect(r.client, "answer")
	r.expectEnd(r.client)
	r.send(r.client, "question")
	r.expect(r.app, "question")
	if r.set.Count() != 1 {
		t.Error("the tunnel is closed")
	}
	r.app.Close()
	r.client.Close()
	r.awaitCount(0)
}

func TestAnAppThatReadsNoMoreGoesOnWriting(t *testing.T) {
	r := newRig(t, new(Set), nil)
	r.app.CloseRead()
	chunk := make([]byte, 1<<20)
	for range 8 { // more than fits into any buffer
		if _, err := r.client.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	r.send(r.app, "answer")
	r.expect(r.client, "answer")
}

func TestAnAppThatClosesWithBytesUnreadHasItsLastWordDelivered(t *testing.T) {
	r := newRig(t, new(Set), nil)
	r.send(r.client, "unread")
	r.send(r.app, "last word")
	r.expect(r.client, "last word")
	r.send(r.app, "goodbye")
	r.app.Close()
	r.expect(r.client, "goodbye")
	r.expectEnd(r.client)
}

func TestAClientThatDoesNotEndItsSideIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	r := newRig(t, new(Set), nil)
	r.app.Close()
	r.expectEnd(r.client)
	r.awaitCount(0) // without the client having closed
}

func TestAnAppThatClosesAfterItsEndIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t, new(Set), nil)
	r.app.CloseWrite()
	r.expectEnd(r.client)
	r.app.Close()
	r.awaitCount(0)
}

func TestATunnelWhoseDirectionsHaveBothEndedIsClosed(t *testing.T) {
	for name, order := range map[string][2]func(r *rig){
		"app first":    {func(r *rig) { r.app.CloseWrite() }, func(r *rig) { r.client.CloseWrite() }},
		"client first": {func(r *rig) { r.client.CloseWrite() }, func(r *rig) { r.app.CloseWrite() }},
	} {
		r := newRig(t, new(Set), nil)
		order[0](r)
		if name == "app first" {
			r.expectEnd(r.client)
		} else {
			r.expectEnd(r.app)
		}
		order[1](r)
		r.expectEnd(r.client)
		r.expectEnd(r.app)
		r.awaitCount(0)
	}
}

func TestAClientThatVanishesEndsTheAppsSide(t *testing.T) {
	r := newRig(t, new(Set), nil)
	r.client.SetLinger(0)
	r.client.Close()
	r.expectEnd(r.app)
	r.awaitCount(0)
	if _, err := r.app.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the app still writes: %v", err)
	}
}

// exchange sends size bytes in both directions at once, and compares.
func (r *rig) exchange(client net.Conn, size int) {
	r.Helper()
	var all sync.WaitGroup
	transfer := func(seed uint64, from, to net.Conn) {
		sent, received := sha256.New(), sha256.New()
		all.Go(func() {
			source := rand.NewChaCha8([32]byte{byte(seed)})
			if _, err := io.CopyBuffer(io.MultiWriter(from, sent), io.LimitReader(struct{ io.Reader }{source}, int64(size)), make([]byte, 100_000)); err != nil {
				r.Error(err)
			}
			from.(interface{ CloseWrite() error }).CloseWrite()
		})
		all.Go(func() {
			n, err := io.Copy(received, to)
			if err != nil || n != int64(size) {
				r.Errorf("%d of %d bytes arrived: %v", n, size, err)
			}
		})
		r.Cleanup(func() {
			if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
				r.Error("other bytes arrived than were sent")
			}
		})
	}
	transfer(1, client, r.app)
	transfer(2, r.app, client)
	all.Wait()
}

func TestLargeTransfersArriveUnchanged(t *testing.T) {
	r := newRig(t, new(Set), nil)
	r.exchange(r.client, 64<<20)
	r.app.Close()
	r.awaitCount(0)
}

func TestPipesAreUsedForLargeTransfersAndNotForTheRest(t *testing.T) {
	for len(pipes) > 0 {
		(<-pipes).close()
	}
	r := newRig(t, new(Set), nil)
	for range 100 {
		r.send(r.client, "small")
		r.expect(r.app, "small")
	}
	if n := len(pipes); n != 0 {
		t.Errorf("%d pipes were used for small messages", n)
	}
	r.exchange(r.client, 8<<20)
	if n := len(pipes); n == 0 || n > 2 {
		t.Errorf("%d pipes were used for two large transfers", n)
	}
}

func TestATransferGoesOnByCopyingWhereNothingCanBeSpliced(t *testing.T) {
	r := newRig(t, new(Set), nil)
	p := takePump(r.sideOf(r.client), r.sideOf(r.client), new(atomic.Bool))
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	directory, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	if p.from.raw, err = directory.SyscallConn(); err != nil { // splice(2) refuses it
		t.Fatal(err)
	}
	p.to.raw = raw
	if failed, _ := p.bulk(); failed || !p.unpiped {
		t.Errorf("failed %v, unpiped %v", failed, p.unpiped)
	}
}

func (r *rig) sideOf(c syscall.Conn) side {
	raw, err := c.SyscallConn()
	if err != nil {
		r.Fatal(err)
	}
	return side{raw: raw}
}

func TestASlowSideHoldsTheOtherUp(t *testing.T) {
	r := newRig(t, new(Set), nil)
	for name, ends := range map[string][2]net.Conn{"up": {r.client, r.app}, "down": {r.app, r.client}} {
		from, to := ends[0], ends[1]
		from.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := io.Copy(from, io.LimitReader(zeros{}, 1<<30))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n > 64<<20 {
			t.Fatalf("%s: %d bytes were taken, %v", name, n, err)
		}
		from.SetWriteDeadline(time.Now().Add(patience))
		if _, err := io.CopyN(io.Discard, to, n); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r.send(from, "after")
		r.expect(to, "after")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestTheTunnelsOfAWorkerAreClosed(t *testing.T) {
	set := new(Set)
	mine := newRig(t, set, nil)
	other := newRig(t, set, func(e *Ends) { e.Worker = 8 })
	response := newRig(t, set, func(e *Ends) { e.Response = true })
	if set.CountOf(7) != 2 || set.CountOf(8) != 1 || set.Count() != 3 {
		t.Errorf("%d, %d and %d", set.CountOf(7), set.CountOf(8), set.Count())
	}
	mine.send(mine.app, "on its way")
	set.CloseAll(7)
	mine.expectEnd(mine.app)
	mine.expect(mine.client, "on its way")
	mine.expectEnd(mine.client)
	mine.client.Close()
	mine.awaitCount(2)
	if _, err := mine.app.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the app still writes: %v", err)
	}
	other.send(other.app, "goes on")
	other.expect(other.client, "goes on")
	response.send(response.app, "goes on")
	response.expect(response.client, "goes on")
}

func TestAWorkersTunnelToAClientThatReadsNothingIsCutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, new(Set), nil)
	r.app.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := io.Copy(r.app, io.LimitReader(zeros{}, 1<<30)); err == nil {
		t.Fatal("a gigabyte was taken")
	}
	r.set.CloseAll(7)
	r.awaitCount(0)
}

func TestCloseEndsEverything(t *testing.T) {
	set := new(Set)
	r := newRig(t, set, nil)
	response := newRig(t, set, func(e *Ends) { e.Response = true })
	set.Close(context.Background())
	r.expectEnd(r.app)
	r.expectEnd(r.client)
	response.expectEnd(response.client)
	late := newRig(t, set, nil)
	late.expectEnd(late.app)
	late.expectEnd(late.client)
	set.Close(context.Background())
}

func TestCloseCutsOffWhatDoesNotEndInTime(t *testing.T) {
	r := newRig(t, new(Set), func(e *Ends) { e.Response = true })
	r.app.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := io.Copy(r.app, io.LimitReader(zeros{}, 1<<30)); err == nil {
		t.Fatal("a gigabyte was taken")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.set.Close(ctx)
	if n := r.set.Count(); n != 0 {
		t.Errorf("%d are open", n)
	}
}

func TestEncryptedConnectionsAreJoinedToo(t *testing.T) {
	certificate := selfSigned(t)
	var server *tls.Conn
	r := newRig(t, new(Set), func(e *Ends) {
		e.Early, e.Head = []byte("early "), []byte("head ")
		server = tls.Server(e.Client, &tls.Config{Certificates: []tls.Certificate{certificate}})
		e.Client, e.Close = server, server.Close
	})
	client := tls.Client(r.client, &tls.Config{InsecureSkipVerify: true})
	r.send(client, "up")
	r.expect(r.app, "early up")
	r.send(r.app, "down")
	r.expect(client, "head down")
	r.exchange(client, 4<<20)
	r.app.Close()
	r.awaitCount(0)
}
