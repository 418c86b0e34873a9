package static

import (
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
)

// store keeps hot files in memory, up to a number of bytes. Eviction goes round
// the entries like the hand of a clock and spares those that have been used
// since it last came by. Once the store is full a file is let in only when it is
// asked for a second time within a while, so that a crawler does not sweep out
// what visitors want.
type store struct {
	asked int64 // what all of it may take
	limit int64 // of size: asked without the reserve
	seed  maphash.Seed

	mu      sync.RWMutex
	entries map[string]*entry
	ring    []*entry
	hand    int
	size    int64
	lately  [latelySlots]uint32 // hashes of names that were asked for lately
	freed   int64               // bytes evicted since memory was last given back

	collecting   atomic.Bool
	hits, misses atomic.Int64
}

// latelySlots is how many names the store remembers to have been asked for.
const latelySlots = 4096

// entryCost is what an entry takes besides its name and bodies, in bytes,
// roughly.
const entryCost = 1 << 10

// reserve is the part of its memory that the store leaves to what it has
// evicted and the collector has not yet taken, and to the buffers of requests
// for files that are not kept: so what the process takes stays below the limit.
const reserve = 5 // a fifth

func newStore(limit int64) *store {
	return &store{asked: limit, limit: limit - limit/reserve, seed: maphash.MakeSeed(), entries: map[string]*entry{}}
}

// get finds the entry of a file.
func (s *store) get(name []byte) *entry {
	s.mu.RLock()
	e := s.entries[string(name)]
	s.mu.RUnlock()
	if e != nil && !e.used.Load() {
		e.used.Store(true)
	}
	return e
}

// admits reports whether a file of a size would be kept.
func (s *store) admits(name string, size int64) bool {
	cost := size + int64(len(name)) + entryCost
	if cost > s.limit/8 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size+cost <= s.limit {
		return true
	}
	hash := uint32(maphash.String(s.seed, name)) | 1
	slot := &s.lately[hash>>1%latelySlots]
	again := *slot == hash
	*slot = hash
	return again
}

// put keeps an entry, in place of another one of the name.
func (s *store) put(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.entries[e.name]; old != nil {
		s.drop(old)
	}
	e.cost = int64(len(e.body)) + int64(len(e.name)) + entryCost
	e.kept.Store(true)
	e.index = len(s.ring)
	s.ring = append(s.ring, e)
	s.entries[e.name] = e
	s.size += e.cost
	s.shrink()
}

// grow accounts for n more bytes of an entry, or fewer; false if it is not kept any more,
// or would not be.
func (s *store) grow(e *entry, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.kept.Load() || e.cost+n > s.limit/4 {
		return false
	}
	e.cost += n
	e.used.Store(true)
	s.size += n
	s.shrink()
	return e.kept.Load()
}

func (s *store) remove(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(e)
}

// clear forgets everything.
func (s *store) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ring) > 0 {
		s.drop(s.ring[len(s.ring)-1])
	}
}

// drop and shrink are called with mu held.
func (s *store) drop(e *entry) {
	if !e.kept.Load() {
		return
	}
	e.kept.Store(false)
	delete(s.entries, e.name)
	last := s.ring[len(s.ring)-1]
	s.ring[e.index], last.index = last, e.index
	s.ring[len(s.ring)-1] = nil
	s.ring = s.ring[:len(s.ring)-1]
	s.size -= e.cost
	s.giveBack(e.cost)
}

func (s *store) shrink() {
	for s.size > s.limit && len(s.ring) > 0 {
		if s.hand >= len(s.ring) {
			s.hand = 0
		}
		if e := s.ring[s.hand]; e.used.Load() {
			e.used.Store(false)
			s.hand++
		} else {
			s.drop(e)
		}
	}
}

// giveBack has evicted bodies collected before they pile up: left to itself the
// collector would wait until as much again lies about as is kept.
func (s *store) giveBack(n int64) {
	if s.freed += n; s.freed < max(s.limit/8, 1<<20) || !s.collecting.CompareAndSwap(false, true) {
		return
	}
	s.freed = 0
	go func() {
		defer s.collecting.Store(false)
		runtime.GC()
	}()
}

// Status is what the store has and has been good for.
type Status struct {
	Files      int   `json:"files"`
	Bytes      int64 `json:"bytes"`
	BytesLimit int64 `json:"bytes_limit"`
	Hits       int64 `json:"hits"`
	Misses     int64 `json:"misses"`
}

func (s *store) status() Status {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Status{len(s.ring), s.size, s.asked, s.hits.Load(), s.misses.Load()}
}
