package dispatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
	"passenger/go/internal/spool"
)

// read takes the response frames of one slot until the worker closes it.
func (s *Seat) read(index int, stream *link.SlotStream, broken func()) {
	g := s.g
	r := reader{g: g, seat: s, index: index, stream: stream}
	err := r.run()
	stream.Close()
	failure := error(ErrWorkerDied)
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) {
		// The worker does not keep to the protocol: it cannot be used any more.
		g.d.options.Log.Error("response stream of an application process failed", "generation", g.number, "slot", index, "error", err)
		failure = ErrBadResponse
		defer broken()
	}
	if r.call != nil { // in the middle of a response
		g.d.finished(r.call)
		switch {
		case r.hijacked:
		case r.streaming:
			r.endOffer()
			r.body.CloseWrite(failure)
		default:
			r.call.answer(failure)
		}
		return
	}
	// Between responses: the slot may have begun a request and not answered.
	if call := g.d.answering(g, index, g.board.RequestID(index)); call != nil {
		g.d.finished(call)
		call.answer(failure)
	}
}

// reader turns the frames of one slot into responses.
type reader struct {
	g         *Generation
	seat      *Seat
	index     int // of the slot
	stream    *link.SlotStream
	call      *Call        // whose response is being read; nil between responses
	streaming bool         // its head has been delivered, body is being filled
	body      *spool.Spool // of the streaming call
	offer     *Offer       // of the streaming call, until its outcome is known
	hijacked  bool         // the app has taken the client's connection over and is still at work
	abandoned bool         // the worker has been told that its client has gone
	chunk     []byte
}

func (r *reader) run() error {
	for {
		h, err := r.stream.Next()
		if err != nil {
			return err
		}
		switch {
		case r.hijacked:
			err = r.afterHijack(h)
		case r.streaming:
			err = r.continued(h)
		default:
			err = r.begin(h)
		}
		if err != nil {
			return err
		}
	}
}

// finished: the worker is done with the call.
func (r *reader) finished(c *Call) {
	r.g.d.finished(c)
	r.seat.countRequest()
}

// begin reads the first frame of a response.
func (r *reader) begin(h link.FrameHeader) error {
	if h.Type == link.FrameInterim {
		return r.interim(h)
	}
	g := r.g
	c := g.d.answering(g, r.index, h.ID)
	if c == nil {
		// Nobody waits: the request was given up. Its frames are read and dropped.
		return r.drop(h)
	}
	r.call = c
	if c.expired {
		return r.swallow(h)
	}
	c.Kind, c.Status, c.Worker = h.Type, h.Status, r.seat.id
	if h.Type == link.FrameFailed {
		text := make([]byte, h.Length)
		if err := r.stream.ReadFull(text); err != nil {
			return err
		}
		r.deliver(parseFailure(text))
		return nil
	}
	if !h.Type.Begins() {
		return fmt.Errorf("frame %s came before a head", h.Type)
	}
	var rest int
	var err error
	if c.Headers, rest, err = r.stream.ReadHead(c.Headers, h.Length); err != nil {
		return err
	}
	if h.Type == link.FrameHijack {
		return r.hijack(rest)
	}
	if c.Status < 100 || c.Status > 999 {
		return fmt.Errorf("response has the status %d", c.Status)
	}
	if cap(c.Body) < rest {
		c.Body = make([]byte, rest)
	}
	c.Body = c.Body[:rest]
	if err := r.stream.ReadFull(c.Body); err != nil {
		return err
	}
	switch h.Type {
	case link.FrameComplete:
		r.deliver(nil)
	case link.FrameFile:
		fd, err := r.stream.TakeFile()
		if err != nil {
			return err
		}
		c.File = os.NewFile(uintptr(fd), string(c.Body))
		r.deliver(nil)
	case link.FrameHead:
		return r.beginStream(c.Body, &openStream{seat: r.seat, slot: r.index, frames: r.stream, client: c.Client, begun: link.Now()})
	case link.FrameOffer:
		if c.Length, err = parseLength(c.Body); err != nil {
			return err
		}
		r.offer = newOffer(r.stream, h.ID)
		c.Offer = r.offer
		return r.beginStream(nil, nil)
	}
	return nil
}

// beginStream delivers a head; what follows goes into a spool. open is nil for a
// body that the app has put together already.
func (r *reader) beginStream(first []byte, open *openStream) error {
	c := r.call
	limits := r.g.d.options.Spool
	if open != nil && r.g.d.options.StreamSpool != nil {
		limits = r.g.d.options.StreamSpool(c.Headers)
	}
	r.body = spool.New(limits, r.g.d.options.Log)
	if len(first) > 0 {
		if _, err := r.body.Write(first); err != nil {
			return err
		}
	}
	c.Stream = r.body
	r.g.d.mu.Lock()
	r.call, r.streaming = r.g.d.detach(c), true
	if open != nil {
		r.g.d.openStream(r.call, open)
	}
	r.g.d.mu.Unlock()
	c.answer(nil)
	return nil
}

// parseLength decodes the length of a body that is not in the frame.
func parseLength(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("a frame has %d bytes instead of the length of its body", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	if n > math.MaxInt64 {
		return 0, fmt.Errorf("a frame announces a body of %d bytes", n)
	}
	return int64(n), nil
}

// deliver hands a whole response over and ends the call's time in the slot.
func (r *reader) deliver(err error) {
	c := r.call
	r.call = nil
	r.finished(c)
	c.answer(err)
}

// continued reads the frames after a head.
func (r *reader) continued(h link.FrameHeader) error {
	switch h.Type {
	case link.FrameBody:
		if cap(r.chunk) < 64<<10 {
			r.chunk = make([]byte, 64<<10)
		}
		for left := h.Length; left > 0; {
			p := r.chunk[:min(left, len(r.chunk))]
			if err := r.stream.ReadFull(p); err != nil {
				return err
			}
			left -= len(p)
			if _, err := r.body.Write(p); err != nil {
				if !errors.Is(err, spool.ErrReaderGone) {
					return err
				}
				r.abandon()
			}
		}
		return nil
	case link.FrameSent:
		return r.sent(h.Length)
	case link.FrameEnd, link.FrameAborted:
		if err := r.stream.Discard(h.Length); err != nil {
			return err
		}
		c, body := r.call, r.body
		r.endOffer()
		r.call, r.body, r.streaming, r.abandoned = nil, nil, false, false
		var err error
		if h.Type == link.FrameAborted {
			err = ErrAborted
		}
		r.finished(c)
		body.CloseWrite(err)
		return nil
	}
	return fmt.Errorf("frame %s came in the middle of a response", h.Type)
}

// abandon tells the worker, once, that nobody reads its response any more.
func (r *reader) abandon() {
	if !r.abandoned {
		r.abandoned = true
		if err := r.stream.Notify(r.call.ID, link.NoticeClientGone, -1); err != nil {
			r.g.d.options.Log.Warn("cannot tell an application process that a client has gone", "error", err)
		}
	}
}

// ErrAborted ends a streamed body that the app could not complete.
var ErrAborted = errors.New("the application broke off its response")

// drop reads over a frame of a response that nobody waits for.
func (r *reader) drop(h link.FrameHeader) error {
	if err := r.stream.Discard(h.Length); err != nil || h.Type != link.FrameFile && h.Type != link.FrameHijack {
		return err
	}
	fd, err := r.stream.TakeFile()
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
