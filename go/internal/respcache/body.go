package respcache

import (
	"bytes"
	"io"

	"github.com/valyala/fasthttp"
)

// Whole is a body stream whose writer has all of the body already and is only
// waiting for it to be taken. The cache may read it into memory; other streams
// it only follows (copiedBody), since reading would hold up a response that comes
// in pieces.
type Whole interface {
	io.Reader
	// Whole does nothing but tell such a stream.
	Whole()
}

// takeable reports whether the body is there, or to be had, and no longer than limit.
func takeable(r *fasthttp.Response, limit int) bool {
	if !r.IsBodyStream() {
		return len(r.Body()) <= limit
	}
	_, whole := r.BodyStream().(Whole)
	length := r.Header.ContentLength()
	return whole && length >= 0 && length <= limit
}

// take returns the body, to be kept. A stream is read and replaced by what it
// gave. If it breaks off, so does the response.
func take(r *fasthttp.Response) (body []byte, ok bool) {
	if !r.IsBodyStream() {
		if len(r.Body()) == 0 {
			return nil, true
		}
		return bytes.Clone(r.Body()), true
	}
	body = make([]byte, r.Header.ContentLength())
	n, err := io.ReadFull(r.BodyStream(), body)
	if err != nil {
		r.SetBodyStream(io.MultiReader(bytes.NewReader(body[:n]), broken{err}), len(body))
		return nil, false
	}
	r.SetBodyRaw(body)
	r.ImmediateHeaderFlush = false
	return body, true
}

// broken is the rest of a stream that has failed.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
