package respcache

import (
	"net/http"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/httpd"
)

const (
	// maxBodyShare and maxEntryShare are the parts of the cache that one body
	// and one entry may take; maxBody bounds the body of a large cache, in bytes.
	maxBodyShare  = 64
	maxEntryShare = 32
	maxBody       = 1 << 20
	// memoOverhead is what an encoded body takes besides its bytes.
	memoOverhead = 64
)

// entry is one stored response. The upper part does not change once it is in
// the table; the lower part is guarded by the cache's lock.
type entry struct {
	cache        *Cache
	status       int
	fields       []field
	body         []byte
	etag         []byte // opaque-tag, without W/; nil if there is none
	lastModified int64  // Unix seconds; without the field, when the response was made

	// On the cache's clock, in nanoseconds. born is when its age was 0.
	born, lifetime                     int64
	staleWhileRevalidate, staleIfError int64
	neverStale                         bool // must-revalidate and the like
	public                             bool // by name, so that it serves requests with cookies too

	resource  *resource
	hash      uint64
	secondary string

	size            int64
	memos           []memo
	visited, gone   bool
	refreshing      bool
	retryAt         int64  // no refresh before
	newer, older    *entry // in the order of arrival
	before, sibling *entry // variants of the resource
}

type field struct {
	name, value []byte
	onRefusal   bool // part of a 304, too (RFC 9110 §15.4.5)
}

type memo struct {
	coding string
	body   []byte
}

var (
	nameAge = []byte("Age")
	_       = httpd.Memo((*entry)(nil))
)

// Load and Save keep the body's encoded forms (httpd.Memo).
func (e *entry) Load(coding string) []byte {
	e.cache.mu.Lock()
	defer e.cache.mu.Unlock()
	for i := range e.memos {
		if e.memos[i].coding == coding {
			return e.memos[i].body
		}
	}
	return nil
}

func (e *entry) Save(coding string, body []byte) {
	size := int64(cap(body) + len(coding) + memoOverhead)
	c := e.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.gone || e.size+size > c.table.limit/maxEntryShare {
		return
	}
	for i := range e.memos {
		if e.memos[i].coding == coding {
			return
		}
	}
	e.memos = append(e.memos, memo{coding, body})
	e.size += size
	c.table.bytes += size
	c.table.shrink(c.table.limit)
}

// usability says what an entry is good for in a request.
type usability uint8

const (
	useless usability = iota
	fresh
	staleForNow  // stale-while-revalidate: serve, and refresh
	staleAsAsked // max-stale
)

// judge applies RFC 9111 §4.2 and §5.2.1 and RFC 5861 §3.
func (e *entry) judge(p *probe) usability {
	age := p.now - e.born
	left := e.lifetime - age
	switch {
	case p.cookies && !e.public:
		return useless
	case p.control.maxAge >= 0 && age > int64(p.control.maxAge):
		return useless
	case left > 0 && left >= int64(p.control.minFresh):
		return fresh
	case p.control.minFresh >= 0, e.neverStale:
		return useless
	case -left < e.staleWhileRevalidate:
		return staleForNow
	case p.control.maxStale >= 0 && -left <= int64(p.control.maxStale):
		return staleAsAsked
	}
	return useless
}

// helpsOut reports whether the entry may take the place of an error
// (stale-if-error, RFC 5861 §4).
func (e *entry) helpsOut(p *probe, now int64) bool {
	return !p.reload && !e.neverStale && (e.public || !p.cookies) && now-e.born-e.lifetime < e.staleIfError
}

// answer sends the entry. The response has nothing in it.
func (e *entry) answer(p *probe, now int64) {
	x := p.x
	h := &x.Ctx.Response.Header
	refusal := e.status == http.StatusOK && e.unchanged(p)
	for i := range e.fields {
		if f := &e.fields[i]; !refusal || f.onRefusal {
			h.AddBytesKV(f.name, f.value)
		}
	}
	h.AddBytesKV(nameAge, strconv.AppendInt(p.digits[:0], max(now-e.born, 0)/int64(time.Second), 10))
	if refusal {
		x.Ctx.SetStatusCode(http.StatusNotModified)
		return
	}
	x.Ctx.SetStatusCode(e.status)
	x.Ctx.Response.SetBodyRaw(e.body)
	if len(e.body) == 0 {
		h.SetContentLength(0) // in the answer to a HEAD nobody else says so
	}
	x.Memo = e
}

// unchanged evaluates If-None-Match, or else If-Modified-Since (RFC 9110 §13.2.2).
func (e *entry) unchanged(p *probe) bool {
	fields := p.x.Fields
	if p.noneMatch > 0 {
		for i := p.noneMatch - 1; ; i = fields[i].Next {
			if matches(fields[i].Value, e.etag) {
				return true
			}
			if fields[i].Next == 0 {
				return false
			}
		}
	}
	if p.sinceMatch > 0 {
		t, err := fasthttp.ParseHTTPDate(fields[p.sinceMatch-1].Value)
		return err == nil && e.lastModified <= t.Unix()
	}
	return false
}

// matches looks for an entity tag in a list, by weak comparison (RFC 9110 §8.8.3.2).
func matches(list, opaque []byte) bool {
	for i := 0; i < len(list); {
		switch list[i] {
		case ' ', '\t', ',':
			i++
			continue
		case '*':
			return true
		case 'W':
			i++
			if i < len(list) && list[i] == '/' {
				i++
			}
		}
		start := i
		if i == len(list) || list[i] != '"' {
			return false // no entity tag: what follows cannot be trusted
		}
		for i++; i < len(list) && list[i] != '"'; i++ {
		}
		if i == len(list) {
			return false
		}
		i++
		if opaque != nil && string(list[start:i]) == string(opaque) {
			return true
		}
	}
	return false
}
