// Package respcache keeps complete responses of the application in memory and
// answers from them: a shared HTTP cache after RFC 9111, bounded by bytes.
//
// It is more careful than the RFC asks where applications are known to say
// too little: see docs/response-cache.md, which has the rules.
//
// # Order of events
//
// A response must not be stored if what it was made from has been changed
// meanwhile. So every request notes two numbers when it begins, one of its URL
// and one of the cache as a whole; a change of the URL's content and a purge
// raise them; and a response is stored only if they are still the same. The
// numbers of URLs live in a table of fixed size under the URL's hash. Two URLs
// may share one: then a response is not stored that could have been.
//
// # Many requests at once
//
// The first request for a response that is not there leads a flight: it goes
// to the application, later ones wait for it to land and look again. They wait
// once, for a limited time, and then go themselves. What turns out not to be
// storable is remembered for some seconds, and its requests do not wait.
//
// # Stale while revalidate
//
// The refresh runs in a goroutine of its own, on a request without a client
// (httpd.Exchange.Detached): with the addresses and headers of the request
// that met the stale response, but for its conditions, and with a connection on
// which every transfer fails, so that nothing of it can get into that client's
// stream. The alternative, to let that request do the refresh before it is
// answered, would make one visitor wait each time, and on a quiet site that is
// every visitor. The refreshes are counted, bounded in number, and waited for by
// Close.
//
// # Streams
//
// A body that comes in pieces is copied as it passes to the client, and stored
// when it has ended as it should; nothing is held back for that. Its flight ends
// with the head of the response: it is the client that takes the body, and
// nobody else is to wait for a slow one. So until the first such response is
// stored, requests for it go to the app side by side. Its age begins with its
// head, and it does not take the place of a response whose age began later. The
// copies under way are bounded in bytes, apart from the entries; a response for
// which there is no room is passed on without being copied.
package respcache

import (
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// Tunables, with their reasons.
const (
	// defaultBytes is the bound if none is given.
	defaultBytes = 16 << 20
	// coalesceWait bounds how long a request waits for another's answer: an app
	// that takes longer gains little by being spared.
	coalesceWait = 10 * time.Second
	// passFor is how long a response is remembered as not storable: long
	// enough to spare a busy URL, short enough to notice a change of the app.
	passFor = 10 * time.Second
	// knownFor is how long a response is remembered as storable with cookies.
	knownFor = time.Hour
	// refreshRetry keeps an app that gives nothing storable from being asked
	// all the time.
	refreshRetry = time.Second
	// maxRefreshes bounds the refreshes at a time: they take workers from clients.
	maxRefreshes = 8
	// epochSlots is the number of URL hashes that are told apart by
	// invalidations, a power of 2.
	epochSlots = 1024
)

// Options of a cache.
type Options struct {
	// Bytes is how much memory the entries may take, keys and overhead
	// included. 0 is 16 MiB. Some 60 KiB of tables come on top.
	Bytes int64
	// VaryByCookie names a cookie whose value is part of the key. "" is none.
	VaryByCookie string
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Log gets what goes wrong in refreshes; nil is nowhere.
	Log *slog.Logger

	wait time.Duration // for another request's answer; 0 is coalesceWait
}

// Cache keeps responses. Its methods may be called at any time from anywhere.
type Cache struct {
	seed       maphash.Seed
	cookieName []byte
	now        func() time.Time
	epoch      time.Time // zero of the cache's clock
	maxBody    int
	wait       time.Duration
	log        *slog.Logger
	probes     sync.Pool
	bypassed   atomic.Uint64
	running    sync.WaitGroup // refreshes

	mu        sync.Mutex
	table     table
	marks     marks
	flights   map[uint64]*flight
	spare     []*flight // that nobody has waited for
	epochs    [epochSlots]uint64
	purged    uint64 // raised by every purge but those of one URL
	copies    int64  // bytes held for bodies that are on their way
	refreshes int
	closed    bool
	counts    counts
}

type counts struct {
	hits, stale, misses, coalesced, stores, purges, invalidations, refreshes uint64
}

// New makes an empty cache.
func New(o Options) *Cache {
	c := &Cache{
		seed:       maphash.MakeSeed(),
		cookieName: []byte(o.VaryByCookie),
		now:        o.Now,
		wait:       o.wait,
		log:        o.Log,
		flights:    map[uint64]*flight{},
	}
	if o.Bytes <= 0 {
		o.Bytes = defaultBytes
	}
	if c.wait == 0 {
		c.wait = coalesceWait
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.epoch = c.now()
	c.table = newTable(o.Bytes)
	c.maxBody = int(min(o.Bytes/maxBodyShare, maxBody))
	c.probes.New = func() any { return new(probe) }
	return c
}

// Close waits for the refreshes under way; there are no new ones then. The
// cache goes on answering. The handler behind it must still answer, be it with
// errors.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
}

// clock is the time on the cache's clock, in nanoseconds.
func (c *Cache) clock() int64 { return int64(c.now().Sub(c.epoch)) }

// Handler puts the cache in front of next. It asks next for what it does not
// have, looks at x.Ctx.Response when next has returned, and follows a body that
// is still to come.
func (c *Cache) Handler(next httpd.Handler) httpd.Handler {
	return func(x *httpd.Exchange) {
		switch string(x.Method) {
		case http.MethodGet, http.MethodHead:
			c.read(x, next)
		case http.MethodOptions, http.MethodTrace:
			next(x)
		default:
			next(x)
			c.written(x)
		}
	}
}

// act is what happens to a request.
type act uint8

const (
	actForward act = iota
	actLead        // forward, and others may wait for the outcome
	actWait        // for the outcome of another
	actAnswer      // with the entry
	actRefuse      // only-if-cached, and it is not
)

type step struct {
	act     act
	refresh bool // answer, and have the entry made anew
	entry   *entry
	flight  *flight
}

// read answers a GET or HEAD.
func (c *Cache) read(x *httpd.Exchange, next httpd.Handler) {
	p := c.probes.Get().(*probe)
	if !p.read(c, x) {
		only := p.control.onlyIfCached
		c.release(p)
		c.bypassed.Add(1)
		if only {
			refuse(x)
		} else {
			next(x)
		}
		return
	}
	p.now = c.clock()
	s := c.begin(p)
	if s.act == actWait {
		s.flight.wait(c.wait)
		p.waited, p.now = true, c.clock()
		s = c.begin(p)
	}
	switch s.act {
	case actAnswer:
		if s.refresh {
			c.startRefresh(x, s.entry, next)
		}
		s.entry.answer(p, p.now)
	case actRefuse:
		refuse(x)
	case actLead:
		c.lead(p, s.flight, next)
	default:
		next(x)
		c.finish(p, nil)
	}
	c.release(p)
}

func (c *Cache) release(p *probe) {
	p.x, p.fallback = nil, nil
	c.probes.Put(p)
}

// refuse answers only-if-cached (RFC 9111 §5.2.1.7).
func refuse(x *httpd.Exchange) {
	x.Ctx.SetStatusCode(http.StatusGatewayTimeout)
	x.Ctx.Response.Header.SetContentType("text/plain; charset=utf-8")
	x.Ctx.Response.SetBodyString("The response is not in the cache.\n")
}

// begin looks the request up and decides what happens to it.
func (c *Cache) begin(p *probe) step {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.epoch, p.purge = c.epochs[p.home%epochSlots], c.purged
	e := c.table.find(c, p)
	if e != nil && !p.reload {
		switch e.judge(p) {
		case fresh:
			c.used(p, e)
			c.counts.hits++
			return step{act: actAnswer, entry: e}
		case staleForNow:
			c.used(p, e)
			c.counts.stale++
			return step{act: actAnswer, entry: e, refresh: c.mayRefresh(p, e)}
		case staleAsAsked:
			c.used(p, e)
			c.counts.stale++
			return step{act: actAnswer, entry: e}
		}
		p.fallback = e
	}
	if p.control.onlyIfCached {
		return step{act: actRefuse}
	}
	s := c.coalesce(p, e)
	if s.act != actWait {
		c.counts.misses++
	}
	return s
}

func (c *Cache) used(p *probe, e *entry) {
	e.visited = true
	if p.waited {
		c.counts.coalesced++
	}
}

// lead forwards a request for which others wait. Whatever happens to it, they
// go on.
func (c *Cache) lead(p *probe, f *flight, next httpd.Handler) {
	defer c.land(f)
	next(p.x)
	c.finish(p, f)
}

// outcome is what became of a response.
type outcome uint8

const (
	refused outcome = iota
	stored
	open // its body is still to come, or was not copied
)

// finish looks at the response of next, stores it if it may, and puts a stale
// one in the place of an error.
func (c *Cache) finish(p *probe, f *flight) outcome {
	var response findings
	if !response.inspect(c, p) {
		c.passed(p, f)
		if p.fallback != nil {
			c.standIn(p)
		}
		return refused
	}
	e, v := response.keep(c, p)
	switch {
	case e == nil:
	case response.streamed:
		c.follow(p, e, v)
		return open
	default:
		if body, ok := take(&p.x.Ctx.Response); ok {
			e.fill(body)
		} else {
			e = nil
		}
	}
	o, now := p.origin(), c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	result := c.store(&o, e, v, now)
	if result == stored {
		p.x.Memo = e
	}
	return result
}

// store puts an entry into the table; nil is a response that cannot be stored
// after all. It is called under the lock.
func (c *Cache) store(o *origin, e *entry, v *vary, now int64) outcome {
	if c.overtaken(o) {
		return refused
	}
	if e == nil || !c.table.insert(o.home, o.url, e, v) {
		c.marks.set(o.pass, markPass, now, passFor)
		return refused
	}
	c.counts.stores++
	if e.public {
		c.marks.set(o.known, markKnown, now, knownFor)
	}
	c.marks.clear(o.pass, markPass)
	return stored
}

// overtaken reports whether the content has been changed, or purged, since the
// request began.
func (c *Cache) overtaken(o *origin) bool {
	return o.epoch != c.epochs[o.home%epochSlots] || o.purge != c.purged
}

// passed remembers a response that cannot be stored, if others have, or could
// have, waited for it. An error says nothing about the next response, and
// neither does an answer to a condition.
func (c *Cache) passed(p *probe, f *flight) {
	status := p.x.Ctx.Response.StatusCode()
	if f == nil || status >= http.StatusInternalServerError || status == http.StatusNotModified {
		return
	}
	now := c.clock() // the app may have taken long
	c.mu.Lock()
	c.marks.set(p.mark(p.flight), markPass, now, passFor)
	c.mu.Unlock()
}

// standIn answers with a stale response instead of the app's error.
func (c *Cache) standIn(p *probe) {
	x, e := p.x, p.fallback
	if !errorStatus(x.Ctx.Response.StatusCode()) || x.Ctx.Hijacked() {
		return
	}
	now := c.clock()
	if !e.helpsOut(p, now) {
		return
	}
	c.mu.Lock()
	gone := e.gone
	if !gone {
		e.visited = true
		c.counts.stale++
	}
	c.mu.Unlock()
	if gone {
		return
	}
	closing := x.Ctx.Response.ConnectionClose()
	x.Ctx.Response.Reset()
	x.Ctx.Response.Header.DisableNormalizing()
	x.Ctx.Response.Header.SetNoDefaultContentType(true)
	if closing {
		x.Ctx.SetConnectionClose()
	}
	e.answer(p, now)
}

// mayRefresh reserves the refresh of a stale entry.
func (c *Cache) mayRefresh(p *probe, e *entry) bool {
	if !p.get || e.refreshing || p.now < e.retryAt || c.closed || c.refreshes >= maxRefreshes {
		return false
	}
	e.refreshing = true
	c.refreshes++
	c.counts.refreshes++
	c.running.Add(1)
	return true
}

func (c *Cache) startRefresh(x *httpd.Exchange, e *entry, next httpd.Handler) {
	d, err := x.Detached(link.KeyHTTPIfNoneMatch, link.KeyHTTPIfModifiedSince, link.KeyHTTPCacheControl, link.KeyHTTPPragma)
	if err != nil {
		c.log.Warn("a stale response cannot be refreshed", "path", string(x.Path), "error", err)
		c.refreshed(e, false)
		return
	}
	go c.refresh(d, e, next)
}

// refresh has an entry made anew.
func (c *Cache) refresh(x *httpd.Exchange, e *entry, next httpd.Handler) {
	obsolete := false
	defer func() { c.refreshed(e, obsolete) }()
	p := c.probes.Get().(*probe)
	defer c.release(p)
	if !p.read(c, x) {
		return
	}
	p.now = c.clock()
	c.mu.Lock()
	p.epoch, p.purge = c.epochs[p.home%epochSlots], c.purged
	c.table.find(c, p) // for p.flight
	c.mu.Unlock()
	next(x)
	status := x.Ctx.Response.StatusCode()
	// An app that no longer lets everybody have the page must not find the old
	// one served; but what it gives somebody with cookies says nothing of others.
	result := c.finish(p, nil)
	if b, ok := x.Ctx.Response.BodyStream().(*copiedBody); ok {
		b.drain(c.wait)
		result = b.result
	}
	obsolete = result == refused && status < http.StatusInternalServerError && !p.cookies
	if err := x.Ctx.Response.CloseBodyStream(); err != nil {
		c.log.Warn("a response that refreshed nothing cannot be closed", "path", string(x.Path), "error", err)
	}
}

// refreshed ends what mayRefresh began.
func (c *Cache) refreshed(e *entry, obsolete bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refreshes--
	e.refreshing = false
	e.retryAt = c.clock() + int64(refreshRetry)
	if obsolete && !e.gone {
		c.table.remove(e)
	}
	c.running.Done()
}
