package respcache

import (
	"bytes"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"
)

// maxVaryFields is by how many request headers a stored response may vary.
const maxVaryFields = 16

// cacheableStatus tells the statuses that are cacheable by definition (RFC
// 9110 §15.1), without 206.
func cacheableStatus(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// findings are what a response says about itself.
type findings struct {
	control              control
	expires, etag        []byte
	lastModified         []byte
	expiring             bool // there is an Expires
	age                  time.Duration
	varies               bool
	streamed             bool // the body is still to come
	fields, bytes        int  // to keep
	lifetime             time.Duration
	staleWhileRevalidate time.Duration
	staleIfError         time.Duration
	neverStale           bool
}

// inspect decides whether the response may be stored (RFC 9111 §3), with what
// the cache adds for safety. It allocates nothing.
func (f *findings) inspect(c *Cache, p *probe) bool {
	r := &p.x.Ctx.Response
	// A connection that has been taken over has had its answer elsewhere.
	if !p.get || !cacheableStatus(r.StatusCode()) || p.x.Ctx.Hijacked() {
		return false
	}
	if !takeable(r, c.maxBody) {
		if f.streamed = followable(r, c.maxBody); !f.streamed {
			return false
		}
	}
	f.control = newControl()
	for name, value := range r.Header.All() {
		switch kind := responseFieldKind(name); kind {
		case responseForbids:
			return false
		case responseConnection:
			if !harmlessConnection(value) {
				return false
			}
			continue
		case responseDropped:
			continue
		case responseControl:
			f.control.parse(value)
			if f.control.noStore || f.control.private || f.control.noCache {
				return false
			}
		case responsePragma:
			if bytes.Contains(value, []byte("no-cache")) {
				return false
			}
		case responseExpires:
			f.expires, f.expiring = value, true
		case responseAge:
			f.age = max(f.age, seconds(value, maxDelta))
			continue
		case responseVary:
			f.varies = true
		case responseETag:
			f.etag = value
		case responseLastModified:
			f.lastModified = value
		}
		f.fields++
		f.bytes += len(name) + len(value)
	}
	return f.judge(p, c.now)
}

// judge finds out for how long the response may be used.
func (f *findings) judge(p *probe, now func() time.Time) bool {
	c := &f.control
	if c.malformed || p.cookies && !c.public && c.sMaxAge < 0 {
		return false
	}
	switch {
	case c.sMaxAge >= 0:
		f.lifetime = c.sMaxAge
	case c.maxAge >= 0:
		f.lifetime = c.maxAge
	case f.expiring:
		if t, err := fasthttp.ParseHTTPDate(f.expires); err == nil {
			f.lifetime = min(max(t.Sub(now()), 0), maxDelta*time.Second)
		}
	default:
		return false // no heuristics
	}
	f.neverStale = c.mustRevalidate || c.proxyRevalidate || c.sMaxAge >= 0
	if !f.neverStale {
		f.staleWhileRevalidate = max(c.staleWhileRevalidate, 0)
		f.staleIfError = max(c.staleIfError, 0)
	}
	return f.lifetime+max(f.staleWhileRevalidate, f.staleIfError) > f.age
}

// keep makes an entry of the response, still without its body; nil if nothing
// can be selected by what it varies by, or the key is too long.
func (f *findings) keep(c *Cache, p *probe) (*entry, *vary) {
	r := &p.x.Ctx.Response
	now := c.now()
	e := &entry{
		cache:                c,
		status:               r.StatusCode(),
		fields:               make([]field, 0, f.fields),
		lifetime:             int64(f.lifetime),
		born:                 int64(now.Sub(c.epoch)) - int64(f.age),
		staleWhileRevalidate: int64(f.staleWhileRevalidate),
		staleIfError:         int64(f.staleIfError),
		neverStale:           f.neverStale,
		public:               f.control.public || f.control.sMaxAge >= 0,
		lastModified:         now.Unix(),
	}
	v := &vary{}
	text := make([]byte, 0, f.bytes)
	for name, value := range r.Header.All() {
		kind := responseFieldKind(name)
		switch kind {
		case responseDropped, responseConnection, responseAge:
			continue
		case responseVary:
			if !v.add(value) || len(v.fields) > maxVaryFields {
				return nil, nil
			}
		}
		start := len(text)
		text = append(text, name...)
		middle := len(text)
		text = append(text, value...)
		e.fields = append(e.fields, field{
			name:      text[start:middle:middle],
			value:     text[middle:len(text):len(text)],
			onRefusal: kind == responseControl || kind == responseExpires || kind == responseVary || kind == responseETag || kind == responseContentLocation || kind == responseLastModified && f.etag == nil,
		})
	}
	var secondary []byte
	if e.hash, secondary = p.variant(c.seed, v); len(p.key) > maxKey {
		return nil, nil
	}
	e.secondary = string(secondary)
	if f.etag != nil {
		opaque, _ := bytes.CutPrefix(f.etag, []byte("W/"))
		e.etag = bytes.Clone(opaque)
	}
	if t, err := fasthttp.ParseHTTPDate(f.lastModified); f.lastModified != nil && err == nil {
		e.lastModified = t.Unix()
	}
	const fieldSize = 64
	e.size = int64(entryOverhead + cap(text) + len(e.etag) + len(e.secondary) + fieldSize*cap(e.fields))
	return e, v
}

// fill gives a new entry its body.
func (e *entry) fill(body []byte) {
	e.body = body
	e.size += int64(cap(body))
}

// responseKind is what a response header field means to the cache.
type responseKind uint8

const (
	responseOther responseKind = iota
	responseForbids
	responseDropped // belongs to the connection, or is made anew for every answer
	responseConnection
	responseControl
	responsePragma
	responseExpires
	responseAge
	responseVary
	responseETag
	responseLastModified
	responseContentLocation
)

func responseFieldKind(name []byte) responseKind {
	switch len(name) {
	case 2:
		return when(name, "te", responseDropped)
	case 3:
		return when(name, "age", responseAge)
	case 4:
		switch name[0] | 0x20 {
		case 'e':
			return when(name, "etag", responseETag)
		case 'v':
			return when(name, "vary", responseVary)
		}
		return when(name, "date", responseDropped)
	case 6:
		return when(name, "pragma", responsePragma)
	case 7:
		switch name[0] | 0x20 {
		case 'e':
			return when(name, "expires", responseExpires)
		case 'u':
			return when(name, "upgrade", responseDropped)
		}
		return when(name, "trailer", responseDropped)
	case 10:
		switch name[0] | 0x20 {
		case 'c':
			return when(name, "connection", responseConnection)
		case 's':
			return when(name, "set-cookie", responseForbids)
		case 'k':
			return when(name, "keep-alive", responseDropped)
		}
		return when(name, "x-sendfile", responseForbids)
	case 11:
		return when(name, "set-cookie2", responseForbids)
	case 13:
		switch name[0] | 0x20 {
		case 'c':
			if foldEqual(name, "content-range") {
				return responseForbids
			}
			return when(name, "cache-control", responseControl)
		case 'l':
			return when(name, "last-modified", responseLastModified)
		}
	case 14:
		return when(name, "content-length", responseDropped)
	case 16:
		switch name[0] | 0x20 {
		case 'w':
			return when(name, "www-authenticate", responseForbids)
		case 'x':
			return when(name, "x-accel-redirect", responseForbids)
		case 'p':
			return when(name, "proxy-connection", responseDropped)
		}
		return when(name, "content-location", responseContentLocation)
	case 17:
		return when(name, "transfer-encoding", responseDropped)
	}
	return responseOther
}

func when(name []byte, want string, kind responseKind) responseKind {
	if foldEqual(name, want) {
		return kind
	}
	return responseOther
}

// harmlessConnection tells a Connection field that names no header fields.
func harmlessConnection(value []byte) bool {
	for len(value) > 0 {
		var option []byte
		option, value, _ = bytes.Cut(value, comma)
		if option = bytes.TrimSpace(option); len(option) > 0 && !foldEqual(option, "close") && !foldEqual(option, "keep-alive") {
			return false
		}
	}
	return true
}

// errorStatus tells the statuses for which a stale response may stand in
// (RFC 5861 §4).
func errorStatus(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
