package dispatch

import (
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
)

var errLimit = errors.New("over the limit")

func TestOverdueNamesTheRequestsThatTakeTooLong(t *testing.T) {
	b := newBench(t, 0)
	seat, peers := b.silentSeat(2)
	b.d.Serve(b.g)
	c := b.submit()
	// A request cannot be late for longer than it exists, whatever a record says that is being written.
	b.take(seat, 1, b.g.Queue())
	b.g.board.Set(seat.indexes[1], link.SlotStatus{State: link.SlotWorking, RequestID: c.ID, StartedAt: link.Now() - int64(time.Hour)})
	if late := seat.Overdue(link.Now(), time.Minute); len(late) != 0 {
		t.Errorf("a new request counts as late: %+v", late)
	}
	late := seat.Overdue(link.Now()+int64(2*time.Minute), time.Minute)
	if len(late) != 1 || late[0].ID != c.ID || late[0].Slot != seat.indexes[1] || late[0].Age < 2*time.Minute || late[0].Age > 3*time.Minute {
		t.Errorf("late are %+v", late)
	}
	b.g.board.Set(seat.indexes[1], link.SlotStatus{State: link.SlotIdle, RequestID: c.ID})
	if late := seat.Overdue(link.Now()+int64(time.Hour), time.Minute); len(late) != 0 {
		t.Errorf("an idle slot is late: %+v", late)
	}
	for _, p := range peers {
		p.Close()
	}
	seat.Close()
	if err := c.Wait(); err != ErrWorkerDied {
		t.Errorf("the request gets %v", err)
	}
	if seat.Overdue(link.Now(), 0) != nil {
		t.Error("a worker that has ended is late")
	}
	b.finish(nil)
}

// responses are ways in which a worker may answer a request that has expired.
func responses(id uint64) map[string][]byte {
	head := link.HeadPayload(link.AppendHeader(nil, "a", "b"), []byte("body"))
	stream := link.AppendFrame(nil, link.FrameHead, 200, id, head)
	stream = link.AppendFrame(stream, link.FrameBody, 0, id, []byte("more"))
	offer := link.AppendFrame(nil, link.FrameOffer, 200, id, link.HeadPayload(nil, binary.LittleEndian.AppendUint64(nil, 4)))
	offer = link.AppendFrame(offer, link.FrameSent, 0, id, make([]byte, 8))
	offer = link.AppendFrame(offer, link.FrameBody, 0, id, []byte("body"))
	return map[string][]byte{
		"whole":    link.AppendFrame(nil, link.FrameComplete, 200, id, head),
		"failed":   link.AppendFrame(nil, link.FrameFailed, 0, id, []byte("A\x00b\x00c")),
		"streamed": link.AppendFrame(stream, link.FrameEnd, 0, id, nil),
		"aborted":  link.AppendFrame(stream, link.FrameAborted, 0, id, nil),
		"offered":  link.AppendFrame(offer, link.FrameEnd, 0, id, nil),
		"nothing":  nil, // the worker is killed
	}
}

func TestAnExpiredRequestIsAnsweredAtOnceAndItsLateResponseDropped(t *testing.T) {
	for name := range responses(0) {
		b := newBench(t, 0)
		seat, peers := b.silentSeat(1)
		b.d.Serve(b.g)
		c := b.submit()
		b.take(seat, 0, b.g.Queue())
		id := c.ID
		if seat.Expire(id+1<<indexBits, errLimit) {
			t.Errorf("%s: a request that is not there expires", name)
		}
		if !seat.Expire(id, errLimit) || seat.Expire(id, errLimit) {
			t.Errorf("%s: the request does not expire once", name)
		}
		if err := c.Wait(); err != errLimit {
			t.Errorf("%s: the request gets %v", name, err)
		}
		if n := b.g.Unanswered(); n != 1 {
			t.Errorf("%s: the slot is taken for idle", name)
		}
		next := b.submit() // in the same slot
		if frames := responses(id)[name]; frames == nil {
			peers[0].Close()
			seat.Close()
			other, _, ended := b.worker(complete)
			if err := next.Wait(); err != nil {
				t.Errorf("%s: the next request gets %v", name, err)
			}
			b.finish([]*Seat{other}, ended)
		} else {
			peers[0].Write(frames)
			eventually(t, name+": the end of the late response", func() bool { return b.g.Unanswered() == 1 })
			b.take(seat, 0, b.g.Queue())
			peers[0].Write(complete(next.ID))
			if err := next.Wait(); err != nil || string(next.Body) != "hello" {
				t.Errorf("%s: the next request gets %q, %v", name, next.Body, err)
			}
			peers[0].Close()
			b.finish([]*Seat{seat})
		}
		if n := b.g.Unanswered(); n != 0 {
			t.Errorf("%s: credit for %d requests is lost", name, n)
		}
	}
}

func TestAnExpiredStreamBreaksOffAndTheWorkerIsTold(t *testing.T) {
	for name, full := range map[string]bool{"flowing": false, "stuck at a slow client": true} {
		b := newBench(t, 0)
		seat, peers := b.silentSeat(1)
		b.d.Serve(b.g)
		c := b.submit()
		b.take(seat, 0, b.g.Queue())
		id := c.ID
		frames := link.AppendFrame(nil, link.FrameHead, 200, id, link.HeadPayload(nil, []byte("begin")))
		if full { // more than the spool holds: its writer waits
			frames = link.AppendFrame(frames, link.FrameBody, 0, id, make([]byte, 2<<20))
		}
		written := make(chan struct{})
		go func() {
			peers[0].Write(frames)
			close(written)
		}()
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		if !seat.Expire(id, errLimit) || seat.Expire(id, errLimit) {
			t.Errorf("%s: the request does not expire once", name)
		}
		got, err := io.ReadAll(c.Stream)
		if err != errLimit || string(got[:5]) != "begin" {
			t.Errorf("%s: the client reads %d bytes, %v", name, len(got), err)
		}
		c.Close()
		var told [16]byte
		if _, err := io.ReadFull(peers[0], told[:]); err != nil || binary.LittleEndian.Uint64(told[:]) != id || link.Notice(told[8]) != link.NoticeClientGone {
			t.Errorf("%s: the worker is told %v, %v", name, told, err)
		}
		<-written
		peers[0].Write(link.AppendFrame(link.AppendFrame(nil, link.FrameBody, 0, id, []byte("late")), link.FrameAborted, 0, id, nil))
		eventually(t, name+": the end of the response", func() bool { return b.g.Unanswered() == 0 })
		peers[0].Close()
		b.finish([]*Seat{seat})
	}
}

func TestAnExpiredOfferLetsGoOfTheClient(t *testing.T) {
	b := newBench(t, 0)
	seat, peers := b.silentSeat(1)
	b.d.Serve(b.g)
	c := b.submit()
	b.take(seat, 0, b.g.Queue())
	id := c.ID
	peers[0].Write(link.AppendFrame(nil, link.FrameOffer, 200, id, link.HeadPayload(nil, binary.LittleEndian.AppendUint64(nil, 4))))
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	server, _ := connect(t)
	result := make(chan error)
	go func() {
		_, err := c.Offer.Take(server)
		result <- err
	}()
	// The worker has got the socket, and hangs.
	var oob [64]byte
	if n, oobn, _, _, err := unix.Recvmsg(int(peers[0].Fd()), make([]byte, 16), oob[:], 0); n != 16 || oobn == 0 || err != nil {
		t.Fatalf("%d bytes, %d of rights, %v", n, oobn, err)
	}
	if !seat.Expire(id, errLimit) {
		t.Error("the request does not expire")
	}
	if err := <-result; err != errOfferBroken {
		t.Errorf("the client's side ends with %v", err)
	}
	// It comes to itself.
	late := link.AppendFrame(nil, link.FrameSent, 0, id, binary.LittleEndian.AppendUint64(nil, 4))
	peers[0].Write(link.AppendFrame(late, link.FrameEnd, 0, id, nil))
	eventually(t, "the end of the response", func() bool { return b.g.Unanswered() == 0 })
	c.Stream.Close()
	peers[0].Close()
	b.finish([]*Seat{seat})
}
