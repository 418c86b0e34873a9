package compress

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/gzip"
	brotli "github.com/molecule-man/go-brrr"
)

// Levels say how hard the encoders try: gzip 1 (fast) to 9, brotli 0 to 11.
type Levels struct{ Gzip, Brotli int }

// Writer encodes what is written to it.
type Writer interface {
	io.WriteCloser
	// Flush sends on everything written so far in a form that can be decoded.
	Flush() error
}

// brotliWindow is the base-2 logarithm of how far back brotli looks. With the
// library's default of 4 MiB an encoder in the middle of a stream holds 9 MB;
// with 256 KiB it holds 1.6 MB, and documents come out no larger.
const brotliWindow = 18

// ErrNoEncoder is returned for codings that the server only passes on.
var ErrNoEncoder = errors.New("compress: no encoder for this coding")

// idle keeps encoders, which cost more to make than to use, between two uses.
// They have no state by then, so that all servers of a process may share them.
var idle struct {
	gzip   [gzip.BestCompression + 1]sync.Pool
	brotli [brotli.BestCompression + 1]sync.Pool
}

// encoder is a reusable encoder with the place its output goes to.
type encoder struct {
	Writer
	// sink is an object of its own so that there is no cycle: at its highest
	// levels the brotli writer has goroutines that end when it is finalized,
	// and nothing on a cycle is.
	sink   *sink
	gzip   *gzip.Writer
	brotli *brotli.Writer
	home   *sync.Pool
}

// sink takes the output of an encoder: into the writer if there is one, else
// into memory.
type sink struct {
	to     io.Writer
	memory []byte
}

func (s *sink) Write(p []byte) (int, error) {
	if s.to != nil {
		return s.to.Write(p)
	}
	s.memory = append(s.memory, p...)
	return len(p), nil
}

// encoder takes an idle encoder or makes one. size is how many bytes will be
// written, 0 if that is not known.
func (l Levels) encoder(c Coding, size int) (*encoder, error) {
	switch c {
	case Gzip:
		if l.Gzip < gzip.BestSpeed || l.Gzip > gzip.BestCompression {
			return nil, fmt.Errorf("compress: gzip level %d", l.Gzip)
		}
		home := &idle.gzip[l.Gzip]
		if e, ok := home.Get().(*encoder); ok {
			e.gzip.Reset(e.sink)
			return e, nil
		}
		e := &encoder{home: home, sink: new(sink)}
		w, err := gzip.NewWriterLevel(e.sink, l.Gzip)
		if err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		e.Writer, e.gzip = w, w
		return e, nil
	case Brotli:
		if l.Brotli < brotli.BestSpeed || l.Brotli > brotli.BestCompression {
			return nil, fmt.Errorf("compress: brotli level %d", l.Brotli)
		}
		home := &idle.brotli[l.Brotli]
		if e, ok := home.Get().(*encoder); ok {
			e.brotli.ResetWithSizeHint(e.sink, uint(size))
			return e, nil
		}
		e := &encoder{home: home, sink: new(sink)}
		w, err := brotli.NewWriterOptions(e.sink, l.Brotli, brotli.WriterOptions{LGWin: brotliWindow, SizeHint: uint(size)})
		if err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		e.Writer, e.brotli = w, w
		return e, nil
	}
	return nil, fmt.Errorf("%w: %v", ErrNoEncoder, c)
}

// release gives the encoder back, in whatever state it is.
func (e *encoder) release() {
	*e.sink = sink{}
	e.home.Put(e)
}

// Bytes appends the encoded form of src to dst. On an error dst comes back as
// it was.
func (l Levels) Bytes(dst, src []byte, c Coding) ([]byte, error) {
	if c == Identity {
		return append(dst, src...), nil
	}
	e, err := l.encoder(c, len(src))
	if err != nil {
		return dst, err
	}
	defer e.release()
	e.sink.memory = dst
	if _, err = e.Write(src); err == nil {
		err = e.Close()
	}
	if err != nil {
		return dst, fmt.Errorf("compress: %v: %w", c, err)
	}
	return e.sink.memory, nil
}

// NewWriter encodes into w. The writer must be closed, which does not close w;
// no method may be called afterwards. If there is no encoder for the coding or
// the level, every method returns the error.
func (l Levels) NewWriter(w io.Writer, c Coding) Writer {
	e, err := l.encoder(c, 0)
	if err != nil {
		return broken{err}
	}
	e.sink.to = w
	return &writer{e}
}

// writer lends an encoder out until it is closed.
type writer struct{ encoder *encoder }

func (w *writer) Write(p []byte) (int, error) {
	if w.encoder == nil {
		return 0, os.ErrClosed
	}
	return w.encoder.Write(p)
}

func (w *writer) Flush() error {
	if w.encoder == nil {
		return os.ErrClosed
	}
	return w.encoder.Flush()
}

func (w *writer) Close() error {
	if w.encoder == nil {
		return os.ErrClosed
	}
	err := w.encoder.Close()
	w.encoder.release()
	w.encoder = nil
	return err
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }
func (b broken) Flush() error              { return b.err }
func (b broken) Close() error              { return b.err }
