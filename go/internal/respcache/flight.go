package respcache

import (
	"time"
)

// flight is a request on its way to the app for which others wait.
type flight struct {
	hash         uint64
	epoch, purge uint64
	landed       chan struct{} // made by the first that waits
}

// maxSpare is how many flights are kept for reuse.
const maxSpare = 64

// coalesce decides what a request does that is not answered from the cache:
// it leads a flight, waits for one, or goes on its own. Requests with cookies
// go on their own unless what they ask for is known to be for everybody: pages
// made for somebody are never stored, so waiting for them gains nothing.
func (c *Cache) coalesce(p *probe, e *entry) step {
	switch {
	case !p.get, p.reload, p.waited:
		return step{}
	case p.cookies && !(e != nil && e.public) && !c.marks.is(mark(p.base, true), markKnown, p.now):
		return step{}
	case c.marks.is(p.mark(p.flight), markPass, p.now):
		return step{}
	}
	f := c.flights[p.flight]
	if f != nil && f.epoch == p.epoch && f.purge == p.purge {
		if f.landed == nil {
			f.landed = make(chan struct{})
		}
		return step{act: actWait, flight: f}
	}
	if p.noneMatch > 0 || p.sinceMatch > 0 {
		return step{} // a 304 would serve nobody else
	}
	if n := len(c.spare); n > 0 {
		f, c.spare = c.spare[n-1], c.spare[:n-1]
	} else {
		f = new(flight)
	}
	*f = flight{hash: p.flight, epoch: p.epoch, purge: p.purge}
	c.flights[p.flight] = f // in place of one that has been overtaken by a change
	return step{act: actLead, flight: f}
}

// land ends a flight and lets go of those who wait.
func (c *Cache) land(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[f.hash] == f {
		delete(c.flights, f.hash)
	}
	if f.landed != nil {
		close(f.landed)
	} else if len(c.spare) < maxSpare {
		c.spare = append(c.spare, f)
	}
}

// wait returns when the flight has landed, or after the time given.
func (f *flight) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-f.landed:
	case <-timer.C:
	}
}

// markKind is what is remembered of a key.
type markKind uint8

const (
	markNone  markKind = iota
	markPass           // not storable: do not wait for it
	markKnown          // storable even with cookies
)

// marks remembers what became of the responses of some keys. It has a fixed
// size: of two keys with one place the later is remembered.
type marks [2048]struct {
	hash  uint64
	until int64
	kind  markKind
}

func (m *marks) is(hash uint64, kind markKind, now int64) bool {
	e := &m[hash%uint64(len(m))]
	return e.hash == hash && e.kind == kind && now < e.until
}

func (m *marks) set(hash uint64, kind markKind, now int64, d time.Duration) {
	e := &m[hash%uint64(len(m))]
	e.hash, e.kind, e.until = hash, kind, now+int64(d)
}

func (m *marks) clear(hash uint64, kind markKind) {
	if e := &m[hash%uint64(len(m))]; e.hash == hash && e.kind == kind {
		e.kind = markNone
	}
}

// mark tells requests with cookies from those without: apps give them
// different responses.
func mark(hash uint64, cookies bool) uint64 {
	if cookies {
		return hash ^ 0x9e3779b97f4a7c15
	}
	return hash
}

func (p *probe) mark(hash uint64) uint64 { return mark(hash, p.cookies) }
