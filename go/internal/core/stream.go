package core

import (
	"errors"
	"io"

	"passenger/go/internal/spool"
)

// streamBody is a spool on its way to a client; it logs what breaks it off.
type streamBody struct {
	*spool.Spool
	log       *Engine
	reference string
}

func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.Spool.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.log.log.Warn("response broken off", "reason", err.Error(), "request", b.reference)
	}
	return n, err
}
