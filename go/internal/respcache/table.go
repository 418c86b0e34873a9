package respcache

import "bytes"

const (
	// maxSpecs is how many different Vary lists one URL may have at a time.
	maxSpecs = 4
	// resourceOverhead and entryOverhead are what the structs and their places
	// in the maps take besides their contents, in bytes.
	resourceOverhead = 256
	entryOverhead    = 512
)

// resource is a URL of which there are entries.
type resource struct {
	url   string // authority and target; the scheme is in the context
	home  uint64
	specs []vary // by which its responses were selected, the latest last
	first *entry
	size  int64
}

// table holds the entries, at most limit bytes of them. It is used under the
// cache's lock.
//
// Entries leave by SIEVE: they stand in the order in which they came; the hand
// goes from the oldest to the newest, spares those used since it last came by,
// and takes the first that was not. A hit sets a mark and moves nothing.
type table struct {
	limit     int64
	bytes     int64
	evictions uint64
	resources map[uint64]*resource
	entries   map[uint64]*entry

	newest, oldest, hand *entry
}

func newTable(limit int64) table {
	return table{limit: limit, resources: map[uint64]*resource{}, entries: map[uint64]*entry{}}
}

func (t *table) resource(home uint64, url []byte) *resource {
	if r := t.resources[home]; r != nil && r.url == string(url) {
		return r
	}
	return nil
}

// find looks for the newest entry that the request selects (RFC 9111 §4.1).
func (t *table) find(c *Cache, p *probe) *entry {
	r := t.resource(p.home, p.url())
	if r == nil {
		return nil
	}
	var found *entry
	for i := range r.specs {
		hash, secondary := p.variant(c.seed, &r.specs[i])
		p.flight = hash
		if len(p.key) > maxKey {
			continue
		}
		e := t.entries[hash]
		if e != nil && e.resource == r && string(secondary) == e.secondary && (found == nil || e.born >= found.born) {
			found = e
		}
	}
	return found
}

// insert takes an entry in, in place of the one that the same requests select.
func (t *table) insert(home uint64, url []byte, e *entry, v *vary) bool {
	room := e.size + v.size() + int64(resourceOverhead+len(url))
	if room > t.limit/maxEntryShare {
		return false
	}
	if old := t.entries[e.hash]; old != nil {
		t.remove(old)
	}
	t.shrink(t.limit - room)
	r := t.resources[home]
	if r != nil && r.url != string(url) { // two URLs with one hash: one has to go
		t.removeAll(r)
		r = nil
	}
	if r == nil {
		r = &resource{url: string(url), home: home, size: int64(resourceOverhead + len(url))}
		t.resources[home] = r
		t.bytes += r.size
	}
	t.learn(r, v)
	e.resource = r
	if e.sibling = r.first; e.sibling != nil {
		e.sibling.before = e
	}
	r.first = e
	if e.older = t.newest; e.older != nil {
		e.older.newer = e
	} else {
		t.oldest = e
	}
	t.newest = e
	t.entries[e.hash] = e
	t.bytes += e.size
	return true
}

// learn notes that responses of r vary by v. An app that keeps changing its
// mind begins anew.
func (t *table) learn(r *resource, v *vary) {
	for i := range r.specs {
		if bytes.Equal(r.specs[i].id, v.id) {
			return
		}
	}
	if len(r.specs) == maxSpecs {
		for r.first != nil {
			t.unlink(r.first)
		}
		for i := range r.specs {
			r.size -= r.specs[i].size()
			t.bytes -= r.specs[i].size()
		}
		r.specs = r.specs[:0]
	}
	r.specs = append(r.specs, *v)
	r.size += v.size()
	t.bytes += v.size()
}

// size is what the list takes, in bytes.
func (v *vary) size() int64 { return int64(64 + 3*len(v.id)) }

// unlink takes an entry out and leaves its resource.
func (t *table) unlink(e *entry) {
	if t.hand == e {
		t.hand = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		t.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		t.oldest = e.newer
	}
	if e.before != nil {
		e.before.sibling = e.sibling
	} else {
		e.resource.first = e.sibling
	}
	if e.sibling != nil {
		e.sibling.before = e.before
	}
	e.newer, e.older, e.before, e.sibling = nil, nil, nil, nil
	delete(t.entries, e.hash)
	t.bytes -= e.size
	e.gone = true
}

func (t *table) remove(e *entry) {
	t.unlink(e)
	if r := e.resource; r.first == nil {
		delete(t.resources, r.home)
		t.bytes -= r.size
	}
}

// removeAll removes all variants of a resource, and returns how many.
func (t *table) removeAll(r *resource) (n int) {
	for r.first != nil {
		t.remove(r.first)
		n++
	}
	return n
}

// shrink evicts until no more than limit bytes are taken.
func (t *table) shrink(limit int64) {
	for t.bytes > limit && t.oldest != nil {
		e := t.hand
		if e == nil {
			e = t.oldest
		}
		for e.visited {
			e.visited = false
			if e = e.newer; e == nil {
				e = t.oldest
			}
		}
		t.hand = e.newer
		t.remove(e)
		t.evictions++
	}
}
