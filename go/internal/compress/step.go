package compress

import (
	"bytes"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// Options of the step.
type Options struct {
	Levels
	// MinSize is the smallest body that is compressed, in bytes. Streams of
	// unknown length count as large enough.
	MinSize int
	Log     *slog.Logger
}

// maxStreams is how many bodies may be encoded while they are sent. Each holds
// an encoder of one to two megabytes for as long as its client takes, so that
// there must be a limit to what slow clients can hold; streams beyond it go out
// as they are.
const maxStreams = 128

// maxFile is the largest file that is compressed, in bytes. Larger ones are
// better sent by the kernel, with ranges, from a file that somebody has
// compressed before.
const maxFile = 4 << 20

// maxKeptBuffer is how large a buffer is kept for the next response, in bytes.
const maxKeptBuffer = 1 << 20

// fileBody marks the body streams that are files: they never wait for the app.
type fileBody interface{ FileBody() }

// Handler compresses what next answers, where that is allowed and of use (see
// docs/compression.md). Body streams must be Detachers to be compressed.
func Handler(o Options, next httpd.Handler) httpd.Handler {
	return newStep(o).handler(next)
}

type step struct {
	Options
	streams atomic.Int32 // bodies being encoded while they are sent
	pieces  sync.Pool    // of *[]byte, pieceSize long
	buffers sync.Pool    // of *[]byte, for encoded bodies
}

func newStep(o Options) *step {
	s := &step{Options: o}
	s.pieces.New = func() any { b := make([]byte, pieceSize); return &b }
	s.buffers.New = func() any { return new([]byte) }
	return s
}

func (s *step) handler(next httpd.Handler) httpd.Handler {
	return func(x *httpd.Exchange) {
		next(x)
		s.response(x)
	}
}

// response is on the way of every response: what rules most of them out comes
// first.
func (s *step) response(x *httpd.Exchange) {
	r := &x.Ctx.Response
	var body []byte
	var size int
	stream, head := r.IsBodyStream(), x.Ctx.IsHead()
	switch {
	case stream:
		size = r.Header.ContentLength()
	case head:
		if size = r.Header.ContentLength(); size == 0 {
			size = -1 // not announced
		}
	default:
		body = r.Body()
		size = len(body)
	}
	if size >= 0 && size < s.MinSize || !Compressible(r.Header.ContentType()) || bodiless(r.StatusCode()) || x.Ctx.Hijacked() {
		return
	}
	if coding := trim(r.Header.ContentEncoding()); len(coding) > 0 && !equalFold(coding, "identity") {
		return
	}
	fields := look(&r.Header)
	file := false
	if stream {
		_, file = r.BodyStream().(fileBody)
	}
	if fields.fixed || file && size > maxFile {
		return
	}
	addVary(&r.Header, fields.vary)
	if head {
		return
	}
	c, ok := AcceptedBy(x).Choose(produced)
	if !ok || c == Identity {
		return
	}
	if stream {
		ok = s.encodeStream(x, c, size, file)
	} else {
		ok = s.encodeBody(x, c, body)
	}
	if !ok {
		return
	}
	r.Header.SetContentEncoding(c.String())
	if fields.etag {
		weaken(&r.Header)
	}
	if fields.acceptRanges {
		remove(&r.Header, "accept-ranges")
	}
}

// bodiless tells the statuses whose responses have no body, or a part of one.
func bodiless(status int) bool {
	switch status {
	case http.StatusNoContent, http.StatusResetContent, http.StatusPartialContent, http.StatusNotModified:
		return true
	}
	return status < http.StatusOK
}

// encodeBody replaces a complete body by its encoded form if that is smaller.
func (s *step) encodeBody(x *httpd.Exchange, c Coding, body []byte) bool {
	if x.Memo != nil {
		return s.encodeKept(x, c, body)
	}
	buffer := s.buffers.Get().(*[]byte)
	encoded, ok := s.encode(x, (*buffer)[:0], body, c)
	if ok {
		// The response takes the buffer and leaves its old one: no copy.
		encoded = x.Ctx.Response.SwapBody(encoded)
	}
	if cap(encoded) <= maxKeptBuffer {
		*buffer = encoded
	} else {
		*buffer = nil
	}
	s.buffers.Put(buffer)
	return ok
}

// encodeKept is encodeBody for a body that is kept: what is made of it is kept
// with it. A saved form without bytes says that the coding is of no use.
func (s *step) encodeKept(x *httpd.Exchange, c Coding, body []byte) bool {
	kept := x.Memo.Load(c.String())
	if kept == nil {
		kept = []byte{}
		if encoded, ok := s.encode(x, nil, body, c); ok {
			kept = bytes.Clone(encoded)
		}
		x.Memo.Save(c.String(), kept)
	}
	if len(kept) == 0 {
		return false
	}
	x.Ctx.Response.SetBodyRaw(kept)
	return true
}

// encode says whether the encoded form is of use, besides returning it.
func (s *step) encode(x *httpd.Exchange, dst, body []byte, c Coding) ([]byte, bool) {
	encoded, err := s.Bytes(dst, body, c)
	if err != nil {
		s.Log.Error("response not compressed", "coding", c.String(), "error", err, "path", string(x.Path))
		return dst, false
	}
	return encoded, len(encoded) < len(body)
}

// encodeStream has the body encoded while it is sent.
func (s *step) encodeStream(x *httpd.Exchange, c Coding, size int, file bool) bool {
	if !x.HTTP11 { // the length becomes unknown, and HTTP/1.0 has no chunks
		return false
	}
	if _, ranged := x.Field(link.KeyHTTPRange); file && ranged {
		return false
	}
	source, ok := x.Ctx.Response.BodyStream().(Detacher)
	if !ok {
		return false
	}
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		return false
	}
	e, err := s.encoder(c, max(size, 0))
	if err != nil {
		s.streams.Add(-1)
		s.Log.Error("response not compressed", "coding", c.String(), "error", err, "path", string(x.Path))
		return false
	}
	x.Ctx.Response.SetBodyStream(&encodedBody{
		source:  source.Detach(),
		left:    int64(max(size, -1)),
		ready:   file,
		encoder: e,
		done:    func() { s.streams.Add(-1) },
		pieces:  &s.pieces,
	}, unknownLength)
	return true
}

// unknownLength has fasthttp send a body in chunks.
const unknownLength = -1

var _ fasthttp.BodyWriterTo = (*encodedBody)(nil)
