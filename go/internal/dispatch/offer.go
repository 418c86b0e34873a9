package dispatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"passenger/go/internal/link"
)

// Offer is a worker's offer to write a large body onto the client's socket by
// itself: one copy less than through the engine, and two less than through a
// file. It writes as long as the client takes bytes without delay; the rest
// comes through the stream as usual.
type Offer struct {
	stream *link.SlotStream
	id     uint64
	sent   chan int64 // closed when the worker will not say
	once   sync.Once  // around that
}

func newOffer(stream *link.SlotStream, id uint64) *Offer {
	return &Offer{stream: stream, id: id, sent: make(chan int64, 1)}
}

// settle says how much the worker has written; the first word counts.
func (o *Offer) settle(n int64) { o.once.Do(func() { o.sent <- n }) }

// breakOff says that nobody will know.
func (o *Offer) breakOff() { o.once.Do(func() { close(o.sent) }) }

// errOfferBroken is the end of a connection on which nobody knows how much of
// the body has been written.
var errOfferBroken = errors.New("the application process ended, or took too long, while it wrote to the client")

// Take gives the client's socket to the worker and returns how many bytes it
// has written. Nobody else may write meanwhile.
func (o *Offer) Take(socket syscall.Conn) (int64, error) {
	select {
	case n, ok := <-o.sent: // the worker has not waited for the head to be written
		return o.outcome(n, ok)
	default:
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var notifyErr error
	err = raw.Control(func(fd uintptr) { notifyErr = o.stream.Notify(o.id, link.NoticeSocket, int(fd)) })
	if err = errors.Join(err, notifyErr); err != nil {
		return 0, err
	}
	n, ok := <-o.sent
	return o.outcome(n, ok)
}

func (o *Offer) outcome(n int64, ok bool) (int64, error) {
	if !ok {
		return 0, errOfferBroken
	}
	return n, nil
}

// Decline has the worker send the body through its stream.
func (o *Offer) Decline() error {
	return o.stream.Notify(o.id, link.NoticeNoSocket, -1)
}

// sent passes on how much the worker has written.
func (r *reader) sent(length int) error {
	var b [8]byte
	if length != len(b) || r.offer == nil {
		return fmt.Errorf("frame sent of %d bytes, or without an offer", length)
	}
	if err := r.stream.ReadFull(b[:]); err != nil {
		return err
	}
	r.offer.settle(int64(binary.LittleEndian.Uint64(b[:])))
	r.offer = nil
	return nil
}

func (r *reader) endOffer() {
	if r.offer != nil {
		r.offer.breakOff()
		r.offer = nil
	}
}
