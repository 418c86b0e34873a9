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
	*spool.Spool
	log       *slog.Logger
	reference string
}

func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.Spool.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.broken(err)
	}
	return n, err
}

func (b *streamBody) broken(err error) {
	b.log.Warn("response broken off", "reason", err.Error(), "request", b.reference)
}

// offeredBody is a body that the worker writes to the client by itself, as far
// as the client takes it at once.
type offeredBody struct {
	streamBody
	offer  *dispatch.Offer
	conn   *httpd.Conn
	length int64
}

// WriteTo is called when the head of the response is on its way.
func (b *offeredBody) WriteTo(w io.Writer) (int64, error) {
	n, err := b.offer.Take(b.conn)
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
