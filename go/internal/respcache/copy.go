package respcache

import (
	"bytes"
	"io"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// maxCopiesShare is the part of the cache's bytes that copies under way may
	// take on top: a client decides how long its copy takes.
	maxCopiesShare = 8
	// minCopy is the least room that is made for a body of unknown length, in bytes.
	minCopy = 1 << 10
)

// detacher is a body stream that can change hands: what Detach returns has what
// is left of it, and closing the original does nothing from then on. fasthttp
// closes the stream of a response that is given another one.
type detacher interface {
	Detach() io.ReadCloser
}

// followable reports whether the body is a stream that may be copied as it
// passes. Those with a WriteTo would lose a faster way to the client, and an
// event stream is meant for who listens at the time.
func followable(r *fasthttp.Response, limit int) bool {
	switch r.BodyStream().(type) {
	case Whole, io.WriterTo:
		return false
	case detacher:
		mediaType, _, _ := bytes.Cut(r.Header.ContentType(), semicolon)
		return r.Header.ContentLength() <= limit && !foldEqual(bytes.TrimSpace(mediaType), "text/event-stream")
	}
	return false
}

// origin is what of a request is needed to store its response when the request
// is gone.
type origin struct {
	home, known, pass uint64 // hashes of the URL and of the marks
	epoch, purge      uint64
	url               []byte // of the probe
}

func (p *probe) origin() origin {
	return origin{
		home:  p.home,
		known: mark(p.base, true),
		pass:  p.mark(p.flight),
		epoch: p.epoch,
		purge: p.purge,
		url:   p.url(),
	}
}

// copiedBody is a body stream that is copied as it passes, and stored when it
// has ended as it should. One goroutine uses it at a time.
type copiedBody struct {
	source io.ReadCloser // nil once it has been closed or has changed hands
	cache  *Cache
	origin origin
	entry  *entry // without body; nil: nothing is copied any more
	vary   *vary
	length int // as announced; negative if it is not known
	body   []byte
	held   int64   // bytes of Cache.copies
	result outcome // of what has been copied
}

// follow has the response stored when its body has passed, if there is room for
// another copy.
func (c *Cache) follow(p *probe, e *entry, v *vary) {
	c.mu.Lock()
	ok := c.hold(e.size)
	c.mu.Unlock()
	if !ok {
		return
	}
	r := &p.x.Ctx.Response
	b := &copiedBody{
		source: r.BodyStream().(detacher).Detach(),
		cache:  c,
		origin: p.origin(),
		entry:  e,
		vary:   v,
		length: r.Header.ContentLength(),
		held:   e.size,
		result: open,
	}
	b.origin.url = bytes.Clone(b.origin.url)
	r.SetBodyStream(b, b.length)
}

// hold takes n bytes for a copy.
func (c *Cache) hold(n int64) bool {
	if c.copies+n > c.table.limit/maxCopiesShare {
		return false
	}
	c.copies += n
	return true
}

// Read passes on what the source gives.
func (b *copiedBody) Read(p []byte) (int, error) {
	if b.source == nil {
		return 0, io.ErrClosedPipe
	}
	n, err := b.source.Read(p)
	if b.entry != nil {
		b.passed(p[:n], err)
	}
	return n, err
}

func (b *copiedBody) passed(piece []byte, err error) {
	size := len(b.body) + len(piece)
	switch {
	case size > b.cache.maxBody, b.length >= 0 && size > b.length:
		b.refuse()
	case !b.add(piece):
		b.drop()
	case err == nil:
	case err == io.EOF && (b.length < 0 || size == b.length): // a wrapped EOF is an error to those who read
		b.store()
	default:
		b.drop()
	}
}

// add copies a piece unless there is no room, or the copy is of no use any more.
func (b *copiedBody) add(piece []byte) bool {
	if len(piece) == 0 {
		return true
	}
	c, room := b.cache, cap(b.body)
	if size := len(b.body) + len(piece); size > room {
		if room = b.length; room < 0 {
			room = min(max(2*cap(b.body), size, minCopy), c.maxBody)
		}
	}
	more := int64(room - cap(b.body))
	c.mu.Lock()
	ok := !c.overtaken(&b.origin) && c.hold(more)
	c.mu.Unlock()
	if !ok {
		return false
	}
	b.held += more
	if more > 0 {
		body := make([]byte, len(b.body), room)
		copy(body, b.body)
		b.body = body
	}
	b.body = append(b.body, piece...)
	return true
}

// store puts the response into the cache, unless a later one is there already.
func (b *copiedBody) store() {
	c, e := b.cache, b.entry
	if len(b.body) < cap(b.body) {
		b.body = bytes.Clone(b.body)
	}
	e.fill(b.body)
	now := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if there := c.table.entries[e.hash]; there == nil || there.born <= e.born {
		b.result = c.store(&b.origin, e, b.vary, now)
	}
	b.release()
}

// refuse drops the copy of a response that turns out not to be storable, and
// remembers that.
func (b *copiedBody) refuse() {
	c := b.cache
	now := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.overtaken(&b.origin) {
		c.marks.set(b.origin.pass, markPass, now, passFor)
	}
	b.result = refused
	b.release()
}

// drop gives the copy up.
func (b *copiedBody) drop() {
	b.cache.mu.Lock()
	defer b.cache.mu.Unlock()
	b.release()
}

// release is called under the cache's lock.
func (b *copiedBody) release() {
	b.cache.copies -= b.held
	b.entry, b.vary, b.body, b.held = nil, nil, nil, 0
}

// Close closes the source. A copy that has not come to its end is of no use.
func (b *copiedBody) Close() error {
	if b.source == nil {
		return nil
	}
	b.drop()
	source := b.source
	b.source = nil
	return source.Close()
}

// Detach hands the rest of the body over, with what has been copied of it.
func (b *copiedBody) Detach() io.ReadCloser {
	moved := *b
	*b = copiedBody{cache: b.cache}
	return &moved
}

// drain reads the body for nobody but the cache, for no longer than limit: the
// app may never end it.
func (b *copiedBody) drain(limit time.Duration) {
	source, late := b.source, make(chan error, 1)
	timer := time.AfterFunc(limit, func() { late <- source.Close() })
	piece := make([]byte, 32<<10)
	var err error
	for b.entry != nil && err == nil {
		_, err = b.Read(piece)
	}
	if timer.Stop() {
		return
	}
	b.source = nil
	b.drop()
	b.cache.log.Warn("a response that refreshes another took too long", "limit", limit, "error", <-late)
}
