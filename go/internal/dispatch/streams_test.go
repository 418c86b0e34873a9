package dispatch

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
	"passenger/go/internal/spool"
)

// hungUpHalf is the sign of a client that has ended its sending side.
const hungUpHalf = unix.POLLRDHUP

// departure is what ClientGone tells.
type departure struct {
	seat *Seat
	slot int
	id   uint64
}

// streamBench is a bench with one worker that streams.
type streamBench struct {
	*bench
	seat       *Seat
	peer       *os.File
	departures chan departure
}

func newStreamBench(t *testing.T, o Options) *streamBench {
	t.Helper()
	departures := make(chan departure, 8)
	o.ClientGone = func(s *Seat, slot int, id uint64) { departures <- departure{s, slot, id} }
	b := newBenchWith(t, o)
	seat, peers := b.silentSeat(1)
	b.d.Serve(b.g)
	return &streamBench{b, seat, peers[0], departures}
}

// stream begins the response to a request of client; somebody reads it and
// tells its end.
func (b *streamBench) stream(client syscall.Conn, first string) (call *Call, id uint64, end chan error) {
	b.Helper()
	c := b.submitFor(client)
	b.take(b.seat, 0, b.g.Queue())
	id = c.ID
	b.write(link.AppendFrame(nil, link.FrameHead, 200, id, link.HeadPayload(nil, []byte(first))))
	if err := c.Wait(); err != nil {
		b.Fatal(err)
	}
	end = make(chan error, 1)
	body := c.Stream
	go func() {
		_, err := io.Copy(io.Discard, body)
		body.Close()
		end <- err
	}()
	return c, id, end
}

func (b *streamBench) write(frames []byte) {
	b.Helper()
	if _, err := b.peer.Write(frames); err != nil {
		b.Fatal(err)
	}
}

func (b *streamBench) end(id uint64) {
	b.write(link.AppendFrame(nil, link.FrameEnd, 0, id, nil))
	eventually(b, "end of the stream", func() bool { return b.seat.Streaming() == 0 })
}

func (b *streamBench) close() {
	b.peer.Close()
	b.seat.Close()
	b.finish(nil)
}

func (b *streamBench) expectDeparture(id uint64) {
	b.Helper()
	select {
	case d := <-b.departures:
		if d != (departure{b.seat, b.seat.indexes[0], id}) {
			b.Errorf("gone is the client of %+v", d)
		}
	case <-time.After(20 * time.Second):
		b.Fatal("nobody notices that the client has gone")
	}
	notice := make([]byte, 16)
	if _, err := io.ReadFull(b.peer, notice); err != nil || binary.LittleEndian.Uint64(notice) != id || notice[8] != byte(link.NoticeClientGone) {
		b.Errorf("the worker reads %v, %v", notice, err)
	}
}

func TestTheClientOfAStreamThatIsSilentIsMissed(t *testing.T) {
	for name, hangUp := range map[string]func(c *net.TCPConn) error{
		"closed":      (*net.TCPConn).Close,
		"half closed": (*net.TCPConn).CloseWrite,
		"reset":       func(c *net.TCPConn) error { c.SetLinger(0); return c.Close() },
	} {
		b := newStreamBench(t, Options{})
		server, client := connect(t)
		_, id, end := b.stream(server, "hello")
		if n := b.seat.Streaming(); n != 1 {
			t.Errorf("%s: the worker streams %d responses", name, n)
		}
		if err := hangUp(client); err != nil {
			t.Fatal(err)
		}
		b.expectDeparture(id)
		if err := <-end; !errors.Is(err, ErrClientGone) {
			t.Errorf("%s: the body ends with %v", name, err)
		}
		if n := b.g.Unanswered(); n != 1 {
			t.Errorf("%s: the slot is taken for idle", name)
		}
		// What the worker still says is read and dropped.
		b.write(link.AppendFrame(nil, link.FrameBody, 0, id, make([]byte, 1<<20)))
		b.end(id)
		if len(b.departures) > 0 {
			t.Errorf("%s: it is told twice", name)
		}
		b.close()
	}
}

func TestAStreamWhoseConnectionTheServerHasClosedIsMissed(t *testing.T) {
	b := newStreamBench(t, Options{})
	server, _ := connect(t)
	_, id, _ := b.stream(server, "hello")
	server.(*net.TCPConn).Close() // it could not write
	b.expectDeparture(id)
	b.end(id)
	b.close()
}

func TestAClientThatStaysIsNotMissed(t *testing.T) {
	b := newStreamBench(t, Options{})
	server, _ := connect(t)
	_, id, end := b.stream(server, "hello")
	time.Sleep(3 * streamInterval)
	select {
	case d := <-b.departures:
		t.Errorf("%+v counts as gone", d)
	default:
	}
	b.end(id)
	if err := <-end; err != nil {
		t.Errorf("the body ends with %v", err)
	}
	b.close()
	eventually(t, "end of the looks", func() bool {
		b.d.mu.Lock()
		defer b.d.mu.Unlock()
		return !b.d.watchingStreams
	})
}

// A client that has ended its sending side is believed to be there as long as
// it is sent something: the kernel would say if it were not.
func TestWhatAHalfClosedClientIsSentKeepsIt(t *testing.T) {
	s := spool.New(spool.Limits{Memory: 1 << 10}, nil)
	reading := make(chan struct{})
	go func() {
		io.Copy(io.Discard, s)
		close(reading)
	}()
	suspect := &streamSuspect{call: &Call{Stream: s}, stream: &openStream{}, signs: hungUpHalf}
	drain := func() {
		eventually(t, "a drained spool", func() bool { _, drained := s.Drained(); return drained })
	}
	for range 3 {
		s.Write([]byte("tick"))
		drain()
		if suspect.hasGone() {
			t.Error("a client that has been sent something counts as gone")
		}
	}
	if !suspect.hasGone() {
		t.Error("a client that is sent nothing does not count as gone")
	}
	s.CloseWrite(nil)
	<-reading
	// Bytes that have not been written are answered by the kernel first.
	full := spool.New(spool.Limits{Memory: 1 << 10}, nil)
	full.Write([]byte("behind"))
	slow := &streamSuspect{call: &Call{Stream: full}, stream: &openStream{}, signs: hungUpHalf}
	for range 3 {
		if slow.hasGone() {
			t.Error("a client that is behind counts as gone")
		}
	}
}

func TestOnlyStreamsAreWatched(t *testing.T) {
	b := newBench(t, 0)
	s, _, ended := b.worker(complete)
	b.d.Serve(b.g)
	server, _ := connect(t)
	for range 100 {
		if err := b.submitFor(server).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	b.d.mu.Lock()
	if b.d.watchingStreams || b.d.open != 0 {
		t.Error("whole responses are watched")
	}
	b.d.mu.Unlock()
	b.finish([]*Seat{s}, ended)
}

func TestAWorkerThatDiesInTheMiddleOfAStreamLeavesNoStream(t *testing.T) {
	b := newStreamBench(t, Options{})
	server, _ := connect(t)
	_, _, end := b.stream(server, "hello")
	b.peer.Close()
	if err := <-end; !errors.Is(err, ErrWorkerDied) {
		t.Errorf("the body ends with %v", err)
	}
	eventually(t, "end of the stream", func() bool { return b.seat.Streaming() == 0 })
	b.close()
}

func TestHeldAreSlotsWhoseStreamsAreOldEnough(t *testing.T) {
	b := newStreamBench(t, Options{})
	if held, slots := b.d.Held(0); held != 0 || slots != 1 {
		t.Errorf("%d of %d idle slots are held", held, slots)
	}
	server, _ := connect(t)
	_, id, _ := b.stream(server, "hello")
	if held, slots := b.d.Held(time.Hour); held != 0 || slots != 1 {
		t.Errorf("%d of %d slots are held by old streams", held, slots)
	}
	if held, _ := b.d.Held(0); held != 1 {
		t.Errorf("%d slots are held", held)
	}
	b.end(id)
	if held, _ := b.d.Held(0); held != 0 {
		t.Errorf("%d slots are held after the end", held)
	}
	b.close()
}

func TestTheHeadersSayHowMuchIsHeldOfAStream(t *testing.T) {
	asked := make(chan link.Headers, 1)
	b := newStreamBench(t, Options{StreamSpool: func(h link.Headers) spool.Limits {
		asked <- append(link.Headers(nil), h...)
		return spool.Limits{Memory: 10}
	}})
	c := b.submit()
	b.take(b.seat, 0, b.g.Queue())
	headers := link.AppendHeader(nil, "a", "b")
	f := link.AppendFrame(nil, link.FrameHead, 200, c.ID, link.HeadPayload(headers, nil))
	b.write(link.AppendFrame(f, link.FrameBody, 0, c.ID, []byte("more than ten bytes")))
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if h := <-asked; string(h) != string(headers) {
		t.Errorf("the headers are %q", h)
	}
	// The reader waits in the middle of the frame, for whoever reads.
	got := make([]byte, 19)
	if _, err := io.ReadFull(c.Stream, got); err != nil || string(got) != "more than ten bytes" {
		t.Errorf("%q, %v", got, err)
	}
	b.end(c.ID)
	b.close()
}

func interim(id uint64, status int, value string) []byte {
	return link.AppendFrame(nil, link.FrameInterim, status, id, link.HeadPayload(link.AppendHeader(nil, "link", value), nil))
}

func TestInterimResponsesComeBeforeTheResponse(t *testing.T) {
	b := newStreamBench(t, Options{})
	for range 3 { // of reused calls, too
		c := b.submit()
		b.take(b.seat, 0, b.g.Queue())
		id := c.ID
		for i := range maxInterim + 2 {
			b.write(interim(id, 103, string(rune('a'+i))))
		}
		b.write(complete(id))
		var values string
		for h := c.Interim(); h != nil; h = c.Interim() {
			_, value, _, _ := h.Next()
			values += string(value)
		}
		if values != "abcdefgh" {
			t.Errorf("the interim responses are %q", values)
		}
		if err := c.Wait(); err != nil || string(c.Body) != "hello" || c.Interim() != nil {
			t.Errorf("%q, %v", c.Body, err)
		}
	}
	// Who does not want them gets the response alone.
	c := b.submit()
	b.take(b.seat, 0, b.g.Queue())
	b.write(append(interim(c.ID, 103, "a"), complete(c.ID)...))
	if err := c.Wait(); err != nil || string(c.Body) != "hello" {
		t.Errorf("%q, %v", c.Body, err)
	}
	b.close()
}

func TestInterimResponsesThatNobodyWaitsForAreDropped(t *testing.T) {
	b := newStreamBench(t, Options{})
	c := b.submit()
	b.take(b.seat, 0, b.g.Queue())
	id := c.ID
	if !b.seat.Expire(id, errLimit) {
		t.Fatal("the request does not expire")
	}
	b.write(append(interim(id, 103, "late"), complete(id)...))
	if c.Interim() != nil || c.Wait() != errLimit {
		t.Error("an expired request gets something else than its answer")
	}
	next := b.submit()
	b.take(b.seat, 0, b.g.Queue())
	b.write(append(interim(id, 103, "very late"), complete(next.ID)...))
	if next.Interim() != nil || next.Wait() != nil {
		t.Error("the interim response of another request is taken for this one's")
	}
	b.close()
}

func TestAfterInterimResponsesADeathIsStillAnswered(t *testing.T) {
	b := newStreamBench(t, Options{})
	c := b.submit()
	b.take(b.seat, 0, b.g.Queue())
	b.write(interim(c.ID, 103, "a"))
	if c.Interim() == nil {
		t.Error("the interim response has not come")
	}
	b.peer.Close()
	if c.Interim() != nil || c.Wait() != ErrWorkerDied {
		t.Error("the death is not answered")
	}
	b.close()
}

func TestMalformedInterimResponsesEndTheWorker(t *testing.T) {
	for name, frame := range map[string]func(id uint64) []byte{
		"final status": func(id uint64) []byte { return interim(id, 200, "a") },
		"switch":       func(id uint64) []byte { return interim(id, 101, "a") },
		"body": func(id uint64) []byte {
			return link.AppendFrame(nil, link.FrameInterim, 103, id, link.HeadPayload(nil, []byte("x")))
		},
		"in a stream": func(id uint64) []byte {
			return append(link.AppendFrame(nil, link.FrameHead, 200, id, link.HeadPayload(nil, nil)), interim(id, 103, "a")...)
		},
	} {
		b := newBench(t, 0)
		broken := make(chan struct{})
		seat, peers, err := b.g.NewSeat(1, func() { close(broken) })
		if err != nil {
			t.Fatal(err)
		}
		seat.Ready()
		b.d.Serve(b.g)
		c := b.submit()
		b.take(seat, 0, b.g.Queue())
		peers[0].Write(frame(c.ID))
		select {
		case <-broken:
		case <-time.After(20 * time.Second):
			t.Errorf("%s: nobody minds", name)
		}
		peers[0].Close()
		seat.Close()
		b.finish(nil)
	}
}
