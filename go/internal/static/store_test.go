package static

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// check looks at what must hold between two calls.
func (s *store) check(t *testing.T, when string) {
	t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	size := int64(0)
	for i, e := range s.ring {
		size += e.cost
		if e.index != i || !e.kept.Load() || s.entries[e.name] != e {
			t.Fatalf("%s: entry %d (%s) has index %d, kept: %v, found: %v", when, i, e.name, e.index, e.kept.Load(), s.entries[e.name] == e)
		}
	}
	if size != s.size || len(s.ring) != len(s.entries) || s.size > s.limit {
		t.Fatalf("%s: %d bytes counted, %d there, limit %d; %d in the ring, %d by name", when, s.size, size, s.limit, len(s.ring), len(s.entries))
	}
}

func storable(name string, size int) *entry {
	e := &entry{name: name}
	e.body = make([]byte, size)
	return e
}

func TestTheStoreKeepsItsCountsWhateverIsDoneToIt(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := newStore(64 << 10)
		var seen []*entry
		for i := range 3000 {
			name := fmt.Sprint("/", random.IntN(60))
			when := fmt.Sprintf("seed %d, step %d", seed, i)
			switch random.IntN(10) {
			case 0, 1, 2:
				s.get([]byte(name))
			case 3, 4, 5, 6:
				if e := storable(name, random.IntN(8<<10)); s.admits(e.name, e.size) && s.admits(name, int64(len(e.body))) {
					s.put(e)
					seen = append(seen, e)
				}
			case 7:
				if len(seen) > 0 {
					e := seen[random.IntN(len(seen))]
					if kept := s.grow(e, int64(random.IntN(20<<10))); kept != (s.entries[e.name] == e) && kept {
						t.Fatal(when, "has grown without being kept")
					}
				}
			case 8:
				if len(seen) > 0 {
					s.remove(seen[random.IntN(len(seen))])
				}
			case 9:
				if random.IntN(100) == 0 {
					s.clear()
				}
			}
			s.check(t, when)
		}
	}
}

func TestTheStoreKeepsNothingWithoutASize(t *testing.T) {
	s := newStore(0)
	if s.admits("/a", 0) {
		t.Error("an empty file is let in")
	}
}

func TestTheStoreSparesWhatIsUsed(t *testing.T) {
	s := newStore(125 * (entryCost + 8)) // 100, and the reserve
	for i := range 100 {
		s.put(storable(fmt.Sprintf("/f%06d", i), 0))
	}
	for i := range 50 {
		s.get(fmt.Appendf(nil, "/f%06d", i))
	}
	for i := range 50 {
		s.put(storable(fmt.Sprintf("/n%06d", i), 0))
	}
	for i := range 50 {
		if s.get(fmt.Appendf(nil, "/f%06d", i)) == nil {
			t.Errorf("%d is gone although it was used", i)
		}
	}
	s.check(t, "at the end")
}

func TestACrawlerDoesNotSweepOutWhatVisitorsWant(t *testing.T) {
	s := newStore(125 * (entryCost + 8)) // 100, and the reserve
	for i := range 100 {
		s.put(storable(fmt.Sprintf("/h%06d", i), 0))
	}
	swept := 0
	for i := range 10_000 {
		name := fmt.Sprintf("/c%06d", i)
		if s.admits(name, 0) {
			s.put(storable(name, 0))
			swept++
		}
	}
	if swept > 0 {
		t.Errorf("%d names that were asked for once are kept", swept)
	}
	for i := range 100 {
		if s.get(fmt.Appendf(nil, "/h%06d", i)) == nil {
			t.Errorf("%d is gone", i)
		}
	}
	// Who is asked for again comes in.
	s.admits("/again", 0)
	if !s.admits("/again", 0) {
		t.Error("a name that is asked for twice is not let in")
	}
}

func TestTheStoreCountsEncodedFormsAndForgetsThemWithTheFile(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.css", text(5000))
	twin := r.write("a.css.gz", text(3000))
	one := func(n int64) {
		t.Helper()
		if got := r.files.Status().Bytes; got != n+int64(len(r.dir)+len("/a.css"))+entryCost {
			t.Errorf("%d bytes, not %d and the entry", got, n)
		}
		r.files.store.check(t, "after a request")
	}
	r.get("/a.css")
	one(5000)
	for i := range 5 { // each twin takes the place of the one before
		r.writeTo(twin, text(3000+i))
		r.advance(2 * probeInterval)
		r.get("/a.css", "Accept-Encoding: gzip").is(t, "the twin", 200, fmt.Sprint("Content-Length: ", 3000+i))
		one(int64(8000 + i))
	}
	remove(t, twin)
	r.get("/a.css").is(t, "the file", 200)
	r.advance(2 * probeInterval)
	r.get("/a.css", "Accept-Encoding: zstd").is(t, "without its twin", 200, "Content-Encoding:")
	one(5000)
	made := r.get("/a.css", "Accept-Encoding: gzip")
	e := r.files.store.get([]byte(r.dir + "/a.css"))
	form := e.forms[1].Load()
	if form == nil || len(made.body) != len(form.body) {
		t.Fatal("it is not kept encoded")
	}
	one(5000 + int64(cap(form.body)))
	r.writeTo(twin, "twin")
	r.advance(2 * probeInterval)
	r.get("/a.css", "Accept-Encoding: gzip").says(t, "the new twin", "twin")
	one(5004)
}
