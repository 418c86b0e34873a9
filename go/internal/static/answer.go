package static

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"

	"passenger/go/internal/compress"
	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// errChanged: what was known about a file does not hold any more.
var errChanged = errors.New("the file has changed")

// What the names of response fields and their fixed values are on the wire.
var (
	headerLastModified    = []byte("Last-Modified")
	headerETag            = []byte("ETag")
	headerAcceptRanges    = []byte("Accept-Ranges")
	headerCacheControl    = []byte("Cache-Control")
	headerExpires         = []byte("Expires")
	headerVary            = []byte("Vary")
	headerContentEncoding = []byte("Content-Encoding")
	headerContentRange    = []byte("Content-Range")

	bytesUnit      = []byte("bytes")
	acceptEncoding = []byte("Accept-Encoding")
	// The longest time that HTTP caches are told in practice: ten years; and the
	// last second that fits into 31 bits.
	forever    = []byte("public, max-age=315360000, immutable")
	endOfTimes = []byte("Thu, 31 Dec 2037 23:55:55 GMT")
)

// answer sends the content of an entry, or what the conditions of the request
// make of it. file, if not nil, is the original, opened; it is taken over.
// Neither done nor an error: the file has changed.
func (f *Files) answer(x *httpd.Exchange, e *entry, file *File, root *Root) (done bool, err error) {
	conditions := conditionsOf(x)
	send := &e.form
	varies := e.varies(&f.options)
	if e.codable {
		if !varies { // a twin makes it so
			f.probe(e, root)
		}
		if chosen := f.negotiate(x, e, root, conditions.ranges != nil); chosen != nil {
			send = chosen
		}
		varies = varies || e.hasTwin()
	}
	if send.twin != nil && send.body == nil {
		if twin, err := f.reopen(root, send.twinName(), send.identity); err == nil {
			closeFile(file)
			file = twin
		} else { // it is being written, say: the content as it is will do
			f.forget(e, send)
			send = &e.form
		}
	}
	switch {
	case send.body != nil:
		closeFile(file)
		file = nil
	case file == nil:
		if file, err = f.reopen(root, e.name, e.identity); err != nil {
			f.store.remove(e)
			return false, ignoreChanged(err)
		}
	}

	if varies {
		x.Ctx.Response.Header.AddBytesKV(headerVary, acceptEncoding)
	}
	content := content{contentType: e.contentType, validators: send.validators, lasting: e.digested, size: send.size, body: send.body, file: file}
	if send.coding != compress.Identity {
		content.encoding = codingNames[send.coding]
		content.size = int64(len(send.body))
		if send.body == nil {
			content.size = file.size
		}
		content.indivisible = true
	} else if e.borrowed {
		content.borrowed = true
	}
	content.deliver(x, &conditions)
	return true, nil
}

var codingNames = [codings][]byte{
	compress.Gzip: []byte(compress.Gzip.String()), compress.Brotli: []byte(compress.Brotli.String()), compress.Zstd: []byte(compress.Zstd.String()),
}

// reopen opens a file that has been looked at before.
func (f *Files) reopen(root *Root, name string, id identity) (*File, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	if file.identity != id {
		file.Close()
		return nil, errChanged
	}
	thaw, err := file.freeze(f.now())
	if err != nil {
		file.Close()
		return nil, err
	}
	thaw()
	return file, nil
}

func ignoreChanged(err error) error {
	if errors.Is(err, errChanged) || missing(err) {
		return nil
	}
	return err
}

// negotiate chooses the encoded form for a request; nil: the content as it is.
// Who asks for a part gets it of that, since a part of an encoded form is of
// little use.
func (f *Files) negotiate(x *httpd.Exchange, e *entry, root *Root, part bool) *form {
	field, ok := x.Field(link.KeyHTTPAcceptEncoding)
	if !ok {
		return nil
	}
	accept := compress.Accepted(field, true)
	if part && accept.Q(compress.Identity) > 0 {
		return nil
	}
	f.probe(e, root)
	// What somebody has compressed beforehand is smaller, as a rule, so it comes
	// first unless the client would rather have what can be made here.
	made, best := e.made(&f.options), max(accept.Q(compress.Gzip), accept.Q(compress.Brotli))
	for {
		available := compress.Set(0).With(compress.Identity)
		for c := compress.Gzip; c < codings; c++ {
			if form := e.forms[c].Load(); form != nil && form.twin != nil {
				available = available.With(c)
			}
		}
		c, ok := accept.Choose(available)
		if !ok || c == compress.Identity || made && accept.Q(c) < best {
			break
		}
		form := e.forms[c].Load()
		if form == nil {
			continue // another request has found it gone
		}
		if f.current(e, form) {
			return form
		}
		f.forget(e, form)
	}
	if !made {
		return nil
	}
	available := compress.Set(0).With(compress.Identity).With(compress.Gzip).With(compress.Brotli)
	for {
		c, ok := accept.Choose(available)
		if !ok || c == compress.Identity {
			return nil
		}
		if form := f.encoded(e, c, root); form != nil {
			return form
		}
		available &^= compress.Set(0).With(c)
	}
}

// forget drops an encoded form.
func (f *Files) forget(e *entry, form *form) {
	if e.forms[form.coding].CompareAndSwap(form, nil) {
		f.store.grow(e, -int64(cap(form.body)))
	}
}

// current reports whether a precompressed file is still the one that is known.
// That of a digested file has one content only; so what is in memory will do,
// whatever becomes of the file.
func (f *Files) current(e *entry, form *form) bool {
	if form.twin == nil || e.digested && form.body != nil {
		return true
	}
	var st unix.Stat_t
	return f.stats.regular(form.twin, &st) && identify(&st) == form.identity
}

// probe looks for precompressed files beside the original. One that is older
// than the original belongs to an earlier content, and one that is larger is of
// no use.
func (f *Files) probe(e *entry, root *Root) {
	now := f.now()
	last := e.probed.Load()
	if now.UnixNano()-last < int64(probeInterval) || !e.probed.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	for _, c := range []compress.Coding{compress.Brotli, compress.Zstd, compress.Gzip} {
		known := e.forms[c].Load()
		twin := append([]byte(e.name+c.Suffix()), 0)
		var st unix.Stat_t
		if !f.stats.regular(twin, &st) || st.Mtim.Nano()+int64(time.Millisecond) < e.modified || st.Size >= e.size {
			if known != nil && known.twin != nil {
				f.forget(e, known)
			}
			continue
		}
		if known != nil && known.twin != nil && known.identity == identify(&st) && !known.outgrown(f.now) {
			continue
		}
		if form := f.readTwin(e, twin, c, root, now); form != nil {
			if old := e.forms[c].Swap(form); old != nil {
				f.store.grow(e, -int64(cap(old.body)))
			}
		}
	}
}

// readTwin makes a form of a precompressed file; nil if it cannot be used now.
func (f *Files) readTwin(e *entry, twin []byte, c compress.Coding, root *Root, now time.Time) *form {
	name := string(twin[:len(twin)-1])
	file, err := root.Open(name)
	if err != nil {
		f.grumble.about(name, err)
		return nil
	}
	defer file.Close()
	thaw, err := file.freeze(now)
	if err != nil {
		return nil
	}
	defer thaw()
	if err := file.refresh(); err != nil {
		f.grumble.about(name, err)
		return nil
	}
	if !file.settled(now) {
		return nil // the next one, written in its place, could not be told from it
	}
	form := &form{coding: c, twin: twin, identity: file.identity, young: file.identity.young(now)}
	if e.digested {
		form.validators = e.validators
	} else {
		form.validators = file.identity.validators(now, "-"+c.String())
		form.seconds, form.date = e.seconds, e.date
	}
	// That of an entry which is not kept is read all the same, for this response:
	// nobody can rewrite it now.
	counted := file.size <= keepMax && f.store.grow(e, file.size)
	if counted || file.size <= copyMax && !e.kept.Load() {
		form.body = make([]byte, file.size)
		if err := file.readAll(form.body); err != nil {
			if counted {
				f.store.grow(e, -file.size)
			}
			f.grumble.about(name, err)
			return nil
		}
	}
	return form
}

// encoded is the content in a coding, made when it is first asked for. While
// another request makes it, this one does without.
func (f *Files) encoded(e *entry, c compress.Coding, root *Root) *form {
	if known := e.forms[c].Load(); known != nil {
		if f.current(e, known) {
			return known
		}
		f.forget(e, known)
	}
	if e.vain.Load()&(1<<c) != 0 || !e.making.TryLock() {
		return nil
	}
	defer e.making.Unlock()
	content := e.body
	if content == nil {
		file, err := f.reopen(root, e.name, e.identity)
		if err != nil {
			return nil // answer finds out why
		}
		defer file.Close()
		content = make([]byte, e.size)
		if file.readAll(content) != nil {
			return nil
		}
	}
	body, err := f.options.Encode(nil, content, c)
	if err != nil {
		f.options.Log.Error("a static file cannot be compressed", "file", e.name, "coding", c.String(), "error", err)
	}
	if err != nil || len(body) >= len(content) || !f.store.grow(e, int64(cap(body))) {
		e.vain.Or(1 << c)
		return nil
	}
	made := &form{coding: c, body: body, validators: e.validators.weak()}
	if !e.forms[c].CompareAndSwap(nil, made) { // a twin has just been found
		f.store.grow(e, -int64(cap(body)))
	}
	return made
}

// content is what is sent: bytes in memory, or an open file, with what clients
// may ask about it.
type content struct {
	contentType string // "": the response has one
	validators
	announced   bool   // the response has the validators
	lasting     bool   // it never changes under this name
	encoding    []byte // Content-Encoding; nil: that of the response
	size        int64
	body        []byte
	file        *File // if body is nil
	borrowed    bool  // body is the response's own buffer
	indivisible bool  // no ranges are given
}

// deliver answers with the content, part of it, or by status alone (RFC 9110
// §13.2.2). It takes over the file.
func (c *content) deliver(x *httpd.Exchange, conditions *conditions) {
	ctx := x.Ctx
	h := &ctx.Response.Header
	status, spans := c.status(x, conditions)
	if !c.announced {
		if c.date != nil {
			h.AddBytesKV(headerLastModified, c.date)
		}
		if c.etag != nil {
			h.AddBytesKV(headerETag, c.etag)
		}
	}
	switch status {
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		withhold(h, headerCacheControl, headerExpires) // they are about the content; an error does not last
	default:
		if c.lasting {
			h.AddBytesKV(headerCacheControl, forever)
			h.AddBytesKV(headerExpires, endOfTimes)
		}
	}
	ctx.SetStatusCode(status)
	switch status {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusRequestedRangeNotSatisfiable:
		h.AddBytesKV(headerAcceptRanges, bytesUnit)
		h.AddBytesKV(headerContentRange, appendUnsatisfied(nil, c.size))
		fallthrough
	default:
		c.close()
		h.SetContentType("")
		h.SetContentEncoding("")
		return
	}
	if c.contentType != "" {
		h.SetContentType(c.contentType)
	}
	if c.encoding != nil {
		h.SetContentEncodingBytes(c.encoding)
	}
	if !c.indivisible {
		h.AddBytesKV(headerAcceptRanges, bytesUnit)
	}
	switch len(spans) {
	case 0:
		c.whole(x)
	case 1:
		h.AddBytesKV(headerContentRange, appendContentRange(nil, spans[0], c.size))
		c.part(x, spans[0])
	default:
		c.parts(x, spans)
	}
}

// status is that of the answer, with the parts of the content that are sent;
// none if it is the whole.
func (c *content) status(x *httpd.Exchange, conditions *conditions) (int, []span) {
	status := conditions.status(c.validators)
	if status != http.StatusOK || c.indivisible || string(x.Method) != http.MethodGet || !conditions.wantsRange(c.validators, time.Now()) {
		return status, nil
	}
	spans, ok := parseRanges(conditions.ranges, c.size, nil)
	switch {
	case !ok:
		return http.StatusOK, nil
	case len(spans) == 0:
		return http.StatusRequestedRangeNotSatisfiable, nil
	}
	return http.StatusPartialContent, spans
}

// withhold removes fields from the head of a response, however the app spells
// their names.
func withhold(h *fasthttp.ResponseHeader, names ...[]byte) {
	var found [][]byte
	for name := range h.All() {
		if slices.ContainsFunc(names, func(n []byte) bool { return bytes.EqualFold(n, name) }) {
			found = append(found, bytes.Clone(name))
		}
	}
	for _, name := range found {
		h.DelBytes(name)
	}
}

func (c *content) whole(x *httpd.Exchange) {
	if c.size == 0 { // of a response to HEAD it would not be told
		x.Ctx.Response.Header.SetContentLength(0)
	}
	switch {
	case c.borrowed:
		x.Ctx.Response.SwapBody(c.body)
	case c.body != nil:
		x.Ctx.Response.SetBodyRaw(c.body)
	default:
		c.part(x, span{0, c.size})
	}
}

func (c *content) part(x *httpd.Exchange, s span) {
	switch {
	case c.body != nil:
		x.Ctx.Response.SetBodyRaw(c.body[s.start : s.start+s.length])
	case s.length == 0:
		c.close()
		x.Ctx.Response.SetBodyRaw(nil)
	default:
		x.Ctx.Response.ImmediateHeaderFlush = true
		x.Ctx.Response.SetBodyStream(&fileBody{c.file, x.Conn, s}, int(s.length))
	}
}

func (c *content) parts(x *httpd.Exchange, spans []span) {
	partType := []byte(c.contentType)
	if c.contentType == "" {
		partType = x.Ctx.Response.Header.ContentType()
	}
	var source io.ReaderAt = c.file
	if c.body != nil {
		source = bytes.NewReader(c.body)
	}
	body, length, mediaType := newMultipart(source, c.file, c.size, spans, partType)
	x.Ctx.Response.Header.SetContentType(mediaType)
	x.Ctx.Response.SetBodyStream(body, int(length))
}

func (c *content) close() { closeFile(c.file) }

func closeFile(file *File) {
	if file != nil {
		file.Close()
	}
}
