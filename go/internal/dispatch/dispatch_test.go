package dispatch

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
	"passenger/go/internal/link/linktest"
	"passenger/go/internal/spool"
)

// bench is a dispatcher with one generation and stand-in workers.
type bench struct {
	*testing.T
	d *Dispatcher
	g *Generation
}

func newBench(t *testing.T, maxWaiting int) *bench {
	t.Helper()
	return newBenchWith(t, Options{MaxWaiting: maxWaiting})
}

func newBenchWith(t *testing.T, o Options) *bench {
	t.Helper()
	o.Spool = spool.Limits{Memory: 1 << 16, File: 1 << 20, Dir: t.TempDir()}
	o.Log = slog.New(slog.DiscardHandler)
	if o.Pressure == nil {
		o.Pressure = func() {}
	}
	d := New(o)
	g, err := d.NewGeneration(1, 8)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, d, g}
}

// another is the bench of one more generation.
func (b *bench) another() *bench {
	b.Helper()
	g, err := b.d.NewGeneration(b.g.Number()+1, 8)
	if err != nil {
		b.Fatal(err)
	}
	return &bench{b.T, b.d, g}
}

// eventually waits for something that other goroutines bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s has not come true", what)
		}
	}
}

// silentSeat is a ready seat whose worker is played by the test.
func (b *bench) silentSeat(slots int) (*Seat, []*os.File) {
	b.Helper()
	seat, peers, err := b.g.NewSeat(slots, func() {})
	if err != nil {
		b.Fatal(err)
	}
	seat.Ready()
	return seat, peers
}

// take has slot k of a silent seat receive what the queue holds, and say so of
// the last.
func (b *bench) take(s *Seat, k int, q *link.Queue) []uint64 {
	ids := q.Drain()
	if len(ids) > 0 {
		id := ids[len(ids)-1]
		b.g.board.Set(s.indexes[k], link.SlotStatus{State: link.SlotWorking, PID: 1, RequestID: id, StartedAt: link.Now(), Sequence: id >> indexBits})
	}
	return ids
}

// worker seats a stand-in that answers with the frames of answer; nil kills it.
func (b *bench) worker(answer func(id uint64) []byte) (*Seat, *linktest.Worker, chan struct{}) {
	b.Helper()
	seat, peers, err := b.g.NewSeat(1, func() {})
	if err != nil {
		b.Fatal(err)
	}
	w := &linktest.Worker{Queue: b.g.Queue().WorkersEnd(), Direct: seat.DirectPeer(), Slot: peers[0], Board: b.g.Board(), Index: seat.Slots()[0],
		Given: make(chan *os.File, 1), Answer: func(_ []byte, id uint64) []byte { return answer(id) }}
	ended := make(chan struct{})
	go func() {
		w.Run()
		peers[0].Close()
		if w.Direct != nil {
			w.Direct.Close()
		}
		close(ended)
	}()
	seat.Ready()
	return seat, w, ended
}

// finish closes the generation once its workers have left.
func (b *bench) finish(seats []*Seat, ended ...chan struct{}) {
	b.Helper()
	if err := b.g.Drain(); err != nil {
		b.Error(err)
	}
	for _, e := range ended {
		<-e
	}
	for _, s := range seats {
		s.Close()
	}
	if err := b.g.Close(); err != nil {
		b.Error(err)
	}
}

func (b *bench) submit() *Call {
	b.Helper()
	c := NewCall()
	c.Reset()
	c.Request.EndFields()
	if err := b.d.Submit(c); err != nil {
		b.Fatal(err)
	}
	return c
}

func complete(id uint64) []byte {
	return link.AppendFrame(nil, link.FrameComplete, 200, id, link.HeadPayload(link.AppendHeader(nil, "x", "y"), []byte("hello")))
}

func TestEveryRequestGetsItsOwnResponse(t *testing.T) {
	b := newBench(t, 0)
	answer := func(id uint64) []byte {
		return link.AppendFrame(nil, link.FrameComplete, 200, id, link.HeadPayload(nil, []byte{byte(id >> 24)}))
	}
	s1, _, e1 := b.worker(answer)
	s2, _, e2 := b.worker(answer)
	b.d.Serve(b.g)
	for range 50 {
		var calls []*Call
		for range 20 {
			calls = append(calls, b.submit())
		}
		for _, c := range calls {
			if err := c.Wait(); err != nil || c.Status != 200 || len(c.Body) != 1 || c.Body[0] != byte(c.ID>>24) {
				t.Fatalf("call %x: status %d, body %v, %v", c.ID, c.Status, c.Body, err)
			}
		}
	}
	b.finish([]*Seat{s1, s2}, e1, e2)
}

func TestNoMoreThanCreditGoesToTheSocket(t *testing.T) {
	b := newBench(t, 0)
	release := make(chan struct{})
	seat, _, ended := b.worker(func(id uint64) []byte { <-release; return complete(id) })
	b.d.Serve(b.g)
	var calls []*Call
	for range 10 {
		calls = append(calls, b.submit())
	}
	if s := b.d.Stats(); s.Outstanding != 1+lookAhead || s.Waiting != 9-lookAhead {
		t.Errorf("with one slot and ten requests: %+v", s)
	}
	close(release)
	for _, c := range calls {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	b.finish([]*Seat{seat}, ended)
}

func TestALineThatIsFullRefuses(t *testing.T) {
	b := newBench(t, 2)
	first, second := b.submit(), b.submit() // nobody serves yet
	c := NewCall()
	c.Reset()
	c.Request.EndFields()
	if err := b.d.Submit(c); err != ErrQueueFull {
		t.Errorf("the third request gets %v", err)
	}
	b.d.Refuse(ErrShuttingDown)
	for _, c := range []*Call{first, second} {
		if err := c.Wait(); err != ErrShuttingDown {
			t.Errorf("a waiting request is refused with %v", err)
		}
	}
	if err := b.d.Submit(c); err != ErrShuttingDown {
		t.Errorf("a new request is refused with %v", err)
	}
	b.finish(nil)
}

func TestADyingWorkerTakesOnlyItsOwnRequestAlong(t *testing.T) {
	b := newBench(t, 0)
	begun := make(chan uint64, 1)
	victim, _, e1 := b.worker(func(id uint64) []byte { begun <- id; return nil })
	b.d.Serve(b.g)
	doomed := b.submit()
	behind := b.submit()
	id := <-begun
	other, _, e2 := b.worker(complete)
	<-e1
	victim.Close()
	if err := doomed.Wait(); err != ErrWorkerDied || doomed.ID != id {
		t.Errorf("the victim's request gets %v", err)
	}
	if err := behind.Wait(); err != nil || behind.Status != 200 {
		t.Errorf("the next request gets %v", err)
	}
	b.finish([]*Seat{other}, e2)
}

func TestARequestTakenUnseenIsFoundToBeLost(t *testing.T) {
	b := newBench(t, 0)
	// This seat's worker receives a message and dies before it can say so.
	seat, peers, err := b.g.NewSeat(1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	seat.Ready()
	b.d.Serve(b.g)
	c := b.submit()
	if ids := b.g.Queue().Drain(); len(ids) != 1 {
		t.Fatalf("took %v", ids)
	}
	peers[0].Close()
	seat.Close()
	if err := c.Wait(); err != ErrWorkerDied {
		t.Errorf("the lost request gets %v", err)
	}
	b.finish(nil)
}

func TestAResponseInTheStreamOfADeadWorkerStillCounts(t *testing.T) {
	b := newBench(t, 0)
	first := true
	seat, _, ended := b.worker(func(id uint64) []byte {
		if first {
			first = false
			return complete(id)
		}
		return nil
	})
	b.d.Serve(b.g)
	good, doomed := b.submit(), b.submit()
	<-ended
	seat.Close()
	if err := good.Wait(); err != nil {
		t.Errorf("the answered request gets %v", err)
	}
	if err := doomed.Wait(); err != ErrWorkerDied {
		t.Errorf("the other one gets %v", err)
	}
	b.finish(nil)
}

func TestAStreamedResponseArrivesInPieces(t *testing.T) {
	for name, end := range map[string]link.FrameType{"ended": link.FrameEnd, "aborted": link.FrameAborted} {
		b := newBench(t, 0)
		seat, _, ended := b.worker(func(id uint64) []byte {
			f := link.AppendFrame(nil, link.FrameHead, 200, id, link.HeadPayload(nil, []byte("one ")))
			f = link.AppendFrame(f, link.FrameBody, 0, id, []byte("two "))
			f = link.AppendFrame(f, link.FrameBody, 0, id, []byte("three"))
			return link.AppendFrame(f, end, 0, id, nil)
		})
		b.d.Serve(b.g)
		for range 3 {
			c := b.submit()
			if err := c.Wait(); err != nil {
				t.Fatal(name, err)
			}
			got, err := io.ReadAll(c.Stream)
			if string(got) != "one two three" || (end == link.FrameEnd) != (err == nil) {
				t.Errorf("%s: read %q, %v", name, got, err)
			}
			c.Close()
		}
		b.finish([]*Seat{seat}, ended)
	}
}

func TestRequestsThatLieInTheSocketGoToTheNextGeneration(t *testing.T) {
	b := newBench(t, 0)
	hold := make(chan struct{})
	begun := make(chan struct{}, 1)
	seat, _, ended := b.worker(func(id uint64) []byte { begun <- struct{}{}; <-hold; return complete(id) })
	b.d.Serve(b.g)
	first := b.submit()
	<-begun
	var waiting []*Call
	for range 2 * lookAhead {
		waiting = append(waiting, b.submit())
	}
	next := &bench{T: t, d: b.d}
	var err error
	if next.g, err = b.d.NewGeneration(2, 1); err != nil {
		t.Fatal(err)
	}
	var order []uint64
	seat2, _, ended2 := next.worker(func(id uint64) []byte { order = append(order, id); return complete(id) })
	b.d.Serve(next.g)
	for i, c := range waiting {
		if err := c.Wait(); err != nil {
			t.Errorf("waiting request %d: %v", i, err)
		}
	}
	close(hold)
	if err := first.Wait(); err != nil {
		t.Error(err)
	}
	b.finish([]*Seat{seat}, ended)
	next.finish([]*Seat{seat2}, ended2)
	for i, c := range waiting {
		if order[i] != c.ID {
			t.Fatal("the requests were served out of order")
		}
	}
}

func TestAReaderThatGoesAwayDoesNotStopTheSlot(t *testing.T) {
	b := newBench(t, 0)
	big := make([]byte, 300_000)
	seat, _, ended := b.worker(func(id uint64) []byte {
		f := link.AppendFrame(nil, link.FrameHead, 200, id, link.HeadPayload(nil, nil))
		for range 8 {
			f = link.AppendFrame(f, link.FrameBody, 0, id, big)
		}
		return link.AppendFrame(f, link.FrameEnd, 0, id, nil)
	})
	b.d.Serve(b.g)
	for range 3 {
		c := b.submit()
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	b.finish([]*Seat{seat}, ended)
}

func TestAWorkerIsToldThatItsClientHasGone(t *testing.T) {
	b := newBench(t, 0)
	seat, peers, err := b.g.NewSeat(1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	seat.Ready()
	b.d.Serve(b.g)
	c := b.submit()
	b.g.Queue().Drain() // received by this worker
	peer := peers[0]
	id := c.ID
	peer.Write(link.AppendFrame(nil, link.FrameHead, 200, id, link.HeadPayload(nil, nil)))
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	peer.Write(link.AppendFrame(nil, link.FrameBody, 0, id, []byte("nobody reads this")))
	var told [16]byte
	if _, err := io.ReadFull(peer, told[:]); err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint64(told[:]); got != id {
		t.Errorf("told about %x instead of %x", got, id)
	}
	peer.Write(link.AppendFrame(nil, link.FrameAborted, 0, id, nil))
	peer.Close()
	seat.Close()
	b.finish(nil)
}

func TestAWorkerWritesTheBodyItOffersAsFarAsItGets(t *testing.T) {
	for name, written := range map[string]int{"all": 10, "a part": 4, "nothing": 0, "dies": -1} {
		b := newBench(t, 0)
		seat, peers, err := b.g.NewSeat(1, func() {})
		if err != nil {
			t.Fatal(err)
		}
		seat.Ready()
		b.d.Serve(b.g)
		c := b.submit()
		b.g.Queue().Drain() // received by this worker
		peer, id := peers[0], c.ID
		body := []byte("0123456789")
		peer.Write(link.AppendFrame(nil, link.FrameOffer, 200, id, link.HeadPayload(nil, []byte{10, 0, 0, 0, 0, 0, 0, 0})))
		if err := c.Wait(); err != nil || c.Length != 10 || c.Offer == nil {
			t.Fatalf("%s: length %d, offer %v, %v", name, c.Length, c.Offer, err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			notice, oob := make([]byte, 16), make([]byte, 64)
			_, oobn, _, _, err := unix.Recvmsg(int(peer.Fd()), notice, oob, 0)
			if err != nil || binary.LittleEndian.Uint64(notice) != id || link.Notice(notice[8]) != link.NoticeSocket {
				t.Errorf("%s: notice %v, %v", name, notice, err)
			}
			messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
			fds, _ := unix.ParseUnixRights(&messages[0])
			if written >= 0 {
				unix.Write(fds[0], body[:written])
				frames := link.AppendFrame(nil, link.FrameSent, 0, id, binary.LittleEndian.AppendUint64(nil, uint64(written)))
				frames = link.AppendFrame(frames, link.FrameBody, 0, id, body[written:])
				peer.Write(link.AppendFrame(frames, link.FrameEnd, 0, id, nil))
			}
			unix.Close(fds[0])
			peer.Close()
		}()
		n, err := c.Offer.Take(conn.(*net.TCPConn))
		if (err != nil) != (written < 0) || err == nil && int(n) != written {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		io.Copy(conn, c.Stream)
		conn.Close()
		got, _ := io.ReadAll(client)
		if written >= 0 && string(got) != string(body) {
			t.Errorf("%s: the client has %q", name, got)
		}
		client.Close()
		listener.Close()
		c.Stream.Close()
		seat.Close()
		b.finish(nil)
	}
}

func TestAnOfferThatNobodyWaitsForAnyMoreIsNotTaken(t *testing.T) {
	b := newBench(t, 0)
	seat, peers, err := b.g.NewSeat(1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	seat.Ready()
	b.d.Serve(b.g)
	c := b.submit()
	b.g.Queue().Drain() // received by this worker
	peer := peers[0]
	frames := link.AppendFrame(nil, link.FrameOffer, 200, c.ID, link.HeadPayload(nil, []byte{2, 0, 0, 0, 0, 0, 0, 0}))
	frames = link.AppendFrame(frames, link.FrameSent, 0, c.ID, make([]byte, 8))
	frames = link.AppendFrame(frames, link.FrameBody, 0, c.ID, []byte("ab"))
	peer.Write(link.AppendFrame(frames, link.FrameEnd, 0, c.ID, nil))
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c.Stream); err != nil || string(got) != "ab" { // so the outcome has been read, too
		t.Errorf("the body is %q, %v", got, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Offer.Take(w); n != 0 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	w.Close()
	r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the worker has been given what it will not use: %v", err)
	}
	r.Close()
	peer.Close()
	c.Stream.Close()
	seat.Close()
	b.finish(nil)
}

func TestGarbageFromAWorkerIsA502(t *testing.T) {
	b := newBench(t, 0)
	seat, _, ended := b.worker(func(id uint64) []byte { return []byte("HTTP/1.1 200 OK\r\n\r\n----") })
	b.d.Serve(b.g)
	c := b.submit()
	if err := c.Wait(); !errors.Is(err, ErrBadResponse) {
		t.Errorf("the request gets %v", err)
	}
	b.finish([]*Seat{seat}, ended)
}

func TestAnExceptionOfTheAppArrivesWithItsParts(t *testing.T) {
	b := newBench(t, 0)
	seat, _, ended := b.worker(func(id uint64) []byte {
		return link.AppendFrame(nil, link.FrameFailed, 0, id, []byte("RuntimeError\x00boom\x00a.rb:1\nb.rb:2"))
	})
	b.d.Serve(b.g)
	c := b.submit()
	var app *AppError
	if err := c.Wait(); !errors.As(err, &app) || app.Class != "RuntimeError" || app.Message != "boom" || app.Backtrace != "a.rb:1\nb.rb:2" {
		t.Errorf("the request gets %v", err)
	}
	b.finish([]*Seat{seat}, ended)
}

func TestWhatIsLeftAtTheEndIsAnswered(t *testing.T) {
	b := newBench(t, 0)
	seat, peers, err := b.g.NewSeat(1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	seat.Ready()
	b.d.Serve(b.g)
	c := b.submit()
	b.g.Queue().Drain() // received by a worker that will never say a word
	b.g.FailRest(ErrDrainTimeout)
	if err := c.Wait(); err != ErrDrainTimeout {
		t.Errorf("the request gets %v", err)
	}
	peers[0].Close()
	seat.Close()
	b.finish(nil)
}

func TestClosingAGenerationLeavesNoDescriptor(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	cycle := func() {
		b := newBench(t, 0)
		seat, _, ended := b.worker(complete)
		b.d.Serve(b.g)
		if err := b.submit().Wait(); err != nil {
			t.Error(err)
		}
		b.finish([]*Seat{seat}, ended)
	}
	cycle()
	before := count()
	for range 5 {
		cycle()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
