package compress

import (
	"errors"
	"io"
	"sync"
)

// Detacher is a body stream that can change hands. What Detach returns has what
// is left of the stream and is to be closed by its new owner; closing the
// original does nothing from then on. The step needs it because fasthttp closes
// the stream of a response that is given another one.
type Detacher interface {
	Detach() io.ReadCloser
}

// pieceSize is how much of a body is encoded at once, in bytes.
const pieceSize = 32 << 10

// errTooLong ends a body that is longer than its announced length.
var errTooLong = errors.New("compress: the body is longer than its Content-Length")

// encodedBody is a body stream that encodes as it is read. What the source has
// given goes out at once: it is encoded and flushed before the source is asked
// again, which may wait for the app.
type encodedBody struct {
	source io.ReadCloser
	// left is how many bytes of the announced length have not come, -1 if the
	// length is not known. Nothing else can tell a body that ends early: its
	// encoded form has no announced length.
	left int64
	// ready says that the source never waits: flushing would only cost ratio.
	ready   bool
	encoder *encoder
	done    func() // called once, when the body is closed
	pieces  *sync.Pool
	piece   *[]byte
	read    int   // how much of the encoder's output has been read
	err     error // ends the body after what has been encoded
}

// Read gives the encoded form.
func (b *encodedBody) Read(p []byte) (int, error) {
	out := b.next()
	if len(out) == 0 {
		return 0, b.err
	}
	n := copy(p, out)
	b.read += n
	return n, nil
}

// SupportsBodyWriteTo tells fasthttp that WriteTo may be used instead of Read.
func (b *encodedBody) SupportsBodyWriteTo() bool { return true }

// WriteTo writes once per piece, so that a piece is one chunk.
func (b *encodedBody) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		out := b.next()
		if len(out) == 0 {
			if errors.Is(b.err, io.EOF) {
				return written, nil
			}
			return written, b.err
		}
		n, err := w.Write(out)
		b.read += n
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
}

// next is the output that has not been read; it is empty only at the end.
func (b *encodedBody) next() []byte {
	if b.source == nil {
		b.err = io.ErrClosedPipe
		return nil
	}
	if b.read == len(b.encoder.sink.memory) {
		b.encoder.sink.memory, b.read = b.encoder.sink.memory[:0], 0
	}
	for b.err == nil && (len(b.encoder.sink.memory) == 0 || b.ready && len(b.encoder.sink.memory) < pieceSize) {
		b.err = b.encode()
	}
	return b.encoder.sink.memory[b.read:]
}

// encode takes one piece from the source.
func (b *encodedBody) encode() error {
	if b.piece == nil {
		b.piece = b.pieces.Get().(*[]byte)
	}
	n, err := b.source.Read(*b.piece)
	if b.left >= 0 {
		if int64(n) > b.left {
			return errTooLong
		}
		b.left -= int64(n)
	}
	if n > 0 {
		if _, werr := b.encoder.Write((*b.piece)[:n]); werr != nil {
			return werr
		}
	}
	switch {
	case err == nil && n > 0 && !b.ready:
		return b.encoder.Flush()
	case errors.Is(err, io.EOF):
		if b.left > 0 {
			return io.ErrUnexpectedEOF
		}
		if err := b.encoder.Close(); err != nil {
			return err
		}
		return io.EOF
	case err != nil && n > 0:
		// What came before the failure is still the client's.
		return errors.Join(err, b.encoder.Flush())
	}
	return err
}

// Close closes the source and gives encoder and buffer back.
func (b *encodedBody) Close() error {
	if b.source == nil {
		return nil
	}
	err := b.source.Close()
	b.source = nil
	b.encoder.release()
	b.encoder = nil
	if b.piece != nil {
		b.pieces.Put(b.piece)
		b.piece = nil
	}
	b.done()
	return err
}
