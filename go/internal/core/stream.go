package core

import (
	"errors"
	"io"
	"log/slog"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/httpd"
	"passenger/go/internal/spool"
)

// streamBody is a spool on its way to a client; it logs what breaks it off.
type streamBody struct {
	*spool.Spool // nil once it has changed hands
	log          *slog.Logger
	reference    string
}

func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.Spool.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.broken(err)
	}
	return n, err
}

// Close drops what has not been read.
func (b *streamBody) Close() error {
	if b.Spool == nil {
		return nil
	}
	return b.Spool.Close()
}

// Detach hands the rest of the body over to who reads what it returns; closing
// b does nothing any more.
func (b *streamBody) Detach() io.ReadCloser {
	moved := *b
	b.Spool = nil
	return &moved
}

func (b *streamBody) broken(err error) {
	if errors.Is(err, dispatch.ErrClientGone) { // clients may go as they please
		b.log.Debug("client of a streamed response has gone", "request", b.reference)
		return
	}
	b.log.Warn("response broken off", "reason", err.Error(), "request", b.reference)
}

// offeredBody is a body that the worker writes to the client by itself, as far
// as the client takes it at once. Who reads it, instead of calling WriteTo,
// gets it through the stream.
type offeredBody struct {
	streamBody
	offer  *dispatch.Offer // nil once it has been taken or declined
	conn   *httpd.Conn
	length int64
}

// WriteTo is called when the head of the response is on its way.
func (b *offeredBody) WriteTo(w io.Writer) (int64, error) {
	if b.offer == nil {
		return io.Copy(w, &b.streamBody)
	}
	offer := b.offer
	b.offer = nil
	n, err := offer.Take(b.conn)
	if err != nil {
		b.broken(err)
		return n, err
	}
	if n == b.length {
		return n, nil
	}
	rest, err := io.Copy(w, &b.streamBody)
	return n + rest, err
}

func (b *offeredBody) Read(p []byte) (int, error) {
	if err := b.decline(); err != nil {
		b.broken(err)
		return 0, err
	}
	return b.streamBody.Read(p)
}

func (b *offeredBody) decline() error {
	if b.offer == nil {
		return nil
	}
	offer := b.offer
	b.offer = nil
	return offer.Decline()
}

// Whole marks it as a body that the worker has all of (respcache.Whole).
func (b *offeredBody) Whole() {}

// Close drops what has not been read; a worker whose offer is still open need
// not wait for an answer.
func (b *offeredBody) Close() error {
	// It may have died meanwhile, and then there is nobody to tell.
	_ = b.decline()
	return b.streamBody.Close()
}

// Detach hands the body over; what it returns has no WriteTo, because the offer
// is for the bytes as they are.
func (b *offeredBody) Detach() io.ReadCloser {
	moved := *b
	b.Spool, b.offer = nil, nil
	return struct {
		io.Reader
		io.Closer
	}{&moved, &moved}
}
