package respcache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"passenger/go/internal/httpd"
)

// gate is an app that answers when it is let, and counts who is inside.
type gate struct {
	inside atomic.Int64
	open   chan struct{}
	then   httpd.Handler
}

func newGate(then httpd.Handler) *gate { return &gate{open: make(chan struct{}), then: then} }

func (g *gate) serve(x *httpd.Exchange) {
	g.inside.Add(1)
	<-g.open
	g.inside.Add(-1)
	g.then(x)
}

// waiters is the number of flights for which somebody waits.
func (s *site) waitedFor() (n int) {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	for _, f := range s.cache.flights {
		if f.landed != nil {
			n++
		}
	}
	return n
}

func TestRequestsForOneResponseWaitForTheFirst(t *testing.T) {
	g := newGate(page("hello", publicMinute))
	s := newSite(t, Options{}, g.serve)
	var clients sync.WaitGroup
	first := make(chan struct{})
	clients.Go(func() { s.ask("GET", "/a"); close(first) })
	eventually(t, "the app was asked", func() bool { return g.inside.Load() == 1 })
	for range 20 {
		clients.Go(func() {
			if a := s.ask("GET", "/a"); a.body != "hello" || a.Header.Get("Age") != "0" {
				t.Errorf("%q", a.body)
			}
		})
	}
	eventually(t, "somebody waited", func() bool { return s.waitedFor() == 1 })
	close(g.open)
	clients.Wait()
	if got := s.cache.Status(); s.calls.Load() != 1 || got.Stores != 1 || got.Hits != 20 || got.Misses != 1 || got.Coalesced == 0 {
		t.Errorf("%d calls, %+v", s.calls.Load(), got)
	}
}

func TestWhatCannotBeStoredIsNotServedOneByOne(t *testing.T) {
	g := newGate(page("mine", "Cache-Control: private"))
	s := newSite(t, Options{}, g.serve)
	var clients sync.WaitGroup
	clients.Go(func() { s.ask("GET", "/a") })
	eventually(t, "the app was asked", func() bool { return g.inside.Load() == 1 })
	for range 5 {
		clients.Go(func() { s.ask("GET", "/a") })
	}
	eventually(t, "somebody waited", func() bool { return s.waitedFor() == 1 })
	g.open <- struct{}{} // the leader
	eventually(t, "the others were in the app at once", func() bool { return g.inside.Load() == 5 })
	close(g.open)
	clients.Wait()

	g = newGate(page("mine", "Cache-Control: private"))
	s.become(g.serve)
	for range 3 {
		clients.Go(func() { s.ask("GET", "/a") })
	}
	eventually(t, "it was remembered", func() bool { return g.inside.Load() == 3 })
	close(g.open)
	clients.Wait()
	s.advance(passFor)
	g = newGate(page("hello", publicMinute))
	s.become(g.serve)
	clients.Go(func() { s.ask("GET", "/a") })
	eventually(t, "the app was asked", func() bool { return g.inside.Load() == 1 })
	clients.Go(func() { s.ask("GET", "/a") })
	eventually(t, "it was forgotten", func() bool { return s.waitedFor() == 1 })
	close(g.open)
	clients.Wait()
}

func TestAnErrorIsNotRememberedAsAResponseThatCannotBeStored(t *testing.T) {
	s := newSite(t, Options{}, page("oops", "500"))
	s.ask("GET", "/a")
	g := newGate(page("hello", publicMinute))
	s.become(g.serve)
	var clients sync.WaitGroup
	clients.Go(func() { s.ask("GET", "/a") })
	eventually(t, "the app was asked", func() bool { return g.inside.Load() == 1 })
	clients.Go(func() { s.ask("GET", "/a") })
	eventually(t, "the second waited", func() bool { return s.waitedFor() == 1 })
	close(g.open)
	clients.Wait()
}

func TestRequestsWithCookiesWaitOnlyForWhatIsKnownToBePublic(t *testing.T) {
	together := func(s *site, then httpd.Handler, target string, fields ...string) (parallel bool) {
		g := newGate(then)
		s.become(g.serve)
		var clients sync.WaitGroup
		for range 2 {
			clients.Go(func() { s.ask("GET", target, fields...) })
		}
		eventually(t, "both were somewhere", func() bool { return g.inside.Load() == 2 || s.waitedFor() == 1 })
		parallel = g.inside.Load() == 2
		close(g.open)
		clients.Wait()
		return parallel
	}
	s := newSite(t, Options{}, nil)
	public, private := page("all", publicMinute), page("mine", "Cache-Control: private")
	if !together(s, public, "/a", "Cookie: s=1") {
		t.Error("an unknown URL is waited for")
	}
	s.advance(time.Hour / 2)
	if together(s, public, "/a", "Cookie: s=1") {
		t.Error("an expired page is not waited for")
	}
	s.cache.Purge(Purge{All: true})
	if together(s, private, "/a", "Cookie: s=1") {
		t.Error("after a purge it is not known any more")
	}
	if !together(s, private, "/a", "Cookie: s=1") {
		t.Error("a page that has become private is waited for")
	}
	if together(s, private, "/a") {
		t.Error("the private pages of others keep visitors from waiting")
	}
}

func TestWaitingHasAnEnd(t *testing.T) {
	g := newGate(page("hello", publicMinute))
	s := newSite(t, Options{wait: time.Millisecond}, g.serve)
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() { s.ask("GET", "/a") })
	}
	eventually(t, "all were in the app", func() bool { return g.inside.Load() == 3 })
	close(g.open)
	clients.Wait()
}

func TestALeaderThatPanicsLetsTheOthersGo(t *testing.T) {
	c := New(Options{})
	entered, fall := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	handler := c.Handler(func(x *httpd.Exchange) {
		if calls.Add(1) == 1 {
			close(entered)
			<-fall
			panic("the app step is broken")
		}
		page("hello", publicMinute)(x)
	})
	var clients sync.WaitGroup
	clients.Go(func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		handler(newExchange("GET", "/a"))
	})
	<-entered
	x := newExchange("GET", "/a")
	clients.Go(func() { handler(x) })
	eventually(t, "the second waited", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, f := range c.flights {
			return f.landed != nil
		}
		return false
	})
	close(fall)
	clients.Wait()
	if string(x.Ctx.Response.Body()) != "hello" || len(c.flights) != 0 {
		t.Errorf("%q, %d flights", x.Ctx.Response.Body(), len(c.flights))
	}
}

func TestVariantsThatAreKnownDoNotWaitForEachOther(t *testing.T) {
	varied := page("hello", "Cache-Control: max-age=60", "Vary: Accept-Language")
	s := newSite(t, Options{}, varied)
	s.ask("GET", "/a", "Accept-Language: fr")
	g := newGate(varied)
	s.become(g.serve)
	var clients sync.WaitGroup
	for _, language := range []string{"de", "en"} {
		clients.Go(func() { s.ask("GET", "/a", "Accept-Language: "+language) })
	}
	eventually(t, "both were in the app", func() bool { return g.inside.Load() == 2 })
	close(g.open)
	clients.Wait()
}

// check compares the table's books with what is in it.
func (c *Cache) check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.table
	var sum int64
	n := 0
	for _, r := range t.resources {
		sum += r.size
		if r.first == nil {
			return fmt.Errorf("%s has no entries", r.url)
		}
		var before *entry
		for e := r.first; e != nil; e = e.sibling {
			if e.before != before || e.resource != r || e.gone || t.entries[e.hash] != e {
				return fmt.Errorf("an entry of %s is out of place", r.url)
			}
			before = e
			n++
		}
	}
	inOrder, hand := 0, t.hand == nil
	var newer *entry
	for e := t.newest; e != nil; e = e.older {
		if e.newer != newer {
			return fmt.Errorf("the order is broken")
		}
		hand = hand || e == t.hand
		newer = e
		sum += e.size
		inOrder++
	}
	if t.oldest != newer || !hand || inOrder != n || n != len(t.entries) {
		return fmt.Errorf("%d entries by URL, %d by arrival, %d by hash; hand in place: %v", n, inOrder, len(t.entries), hand)
	}
	if sum != t.bytes || t.bytes > t.limit || t.bytes < 0 {
		return fmt.Errorf("%d bytes, counted %d, limit %d", sum, t.bytes, t.limit)
	}
	return nil
}

func TestTheBoundHoldsUnderRandomLoad(t *testing.T) {
	c := New(Options{Bytes: 256 << 10})
	var clock atomic.Int64
	c.now = func() time.Time { return c.epoch.Add(time.Duration(clock.Add(int64(time.Millisecond)))) }
	handler := c.Handler(func(x *httpd.Exchange) {
		if string(x.Method) == "POST" {
			page("", "303")(x)
			return
		}
		size := int(x.Target[len(x.Target)-1]) % 8 * 700
		fields := []string{"Cache-Control: public, max-age=1"}
		if size%3 == 0 {
			fields = append(fields, "Vary: Accept-Language")
		}
		page(strings.Repeat("x", size), fields...)(x)
	})
	var clients sync.WaitGroup
	for seed := range uint64(4) {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 3000 {
				target := fmt.Sprintf("/%d", int(r.ExpFloat64()*100))
				switch r.IntN(40) {
				case 0:
					handler(newExchange("POST", target))
				case 1:
					c.Purge(Purge{URL: target})
				case 2:
					c.Purge(Purge{Prefix: target})
				default:
					x := newExchange("GET", target, "HTTP_ACCEPT_LANGUAGE", string(rune('a'+r.IntN(4))))
					handler(x)
					if n := len(x.Ctx.Response.Body()); n != int(target[len(target)-1])%8*700 {
						t.Errorf("%s: %d bytes", target, n)
					}
					if x.Memo != nil && x.Memo.Load("gzip") == nil {
						x.Memo.Save("gzip", make([]byte, r.IntN(3000)))
					}
				}
				if r.IntN(50) == 0 {
					if err := c.check(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	clients.Wait()
	c.Close()
	if err := c.check(); err != nil {
		t.Error(err)
	}
	got := c.Status()
	if got.Evictions == 0 || got.Hits == 0 || got.Invalidations == 0 || got.BytesLimit != 256<<10 || got.HitRatio <= 0 || got.HitRatio >= 1 {
		t.Errorf("%+v", got)
	}
	c.Purge(Purge{All: true})
	if got := c.Status(); got.Bytes != 0 || len(c.flights) != 0 {
		t.Errorf("%+v, %d flights", got, len(c.flights))
	}
}

func TestWhatIsAskedForAgainStaysWhenThereIsNoRoom(t *testing.T) {
	c := New(Options{Bytes: 256 << 10})
	handler := c.Handler(page(strings.Repeat("x", 1000), publicMinute))
	for i := range 1000 {
		handler(newExchange("GET", "/popular"))
		handler(newExchange("GET", fmt.Sprintf("/%d", i)))
	}
	if got := c.Status(); got.Hits != 999 || got.Evictions < 800 {
		t.Errorf("%+v", got)
	}
}

func TestNoGoroutineIsLeftBehind(t *testing.T) {
	s := newSite(t, Options{wait: 5 * time.Millisecond}, page("x", "Cache-Control: public, max-age=0, stale-while-revalidate=60"))
	var clients sync.WaitGroup
	for i := range 40 {
		clients.Go(func() {
			for range 5 {
				s.ask("GET", fmt.Sprintf("/%d", i%4))
			}
		})
	}
	clients.Wait()
	s.cache.Close()
	if s.cache.Status().Refreshes == 0 {
		t.Error("nothing was refreshed")
	}
	eventually(t, "no goroutine was in the cache any more", func() bool {
		stacks := make([]byte, 1<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "respcache.(*Cache)")
	})
}

func TestEncodedFormsAreKeptWithTheResponse(t *testing.T) {
	c := New(Options{Bytes: 1 << 20})
	app := page("hello", publicMinute)
	handler := c.Handler(func(x *httpd.Exchange) { app(x) })
	x := newExchange("GET", "/a")
	handler(x)
	if x.Memo == nil || x.Memo.Load("gzip") != nil {
		t.Fatalf("memo of a response just stored: %v", x.Memo)
	}
	before := c.Status().Bytes
	x.Memo.Save("gzip", []byte("HELLO"))
	x.Memo.Save("gzip", []byte("again"))
	x.Memo.Save("br", make([]byte, 64<<10)) // more than an entry may take
	if got := c.Status().Bytes - before; got < 5 || got > 500 {
		t.Errorf("%d bytes more", got)
	}
	y := newExchange("GET", "/a")
	handler(y)
	if y.Memo == nil || string(y.Memo.Load("gzip")) != "HELLO" || y.Memo.Load("br") != nil || y.Memo.Load("zstd") != nil {
		t.Errorf("memo of a hit: %v", y.Memo)
	}
	c.Purge(Purge{All: true})
	y.Memo.Save("br", []byte("late"))
	if got := c.Status().Bytes; got != 0 {
		t.Errorf("%d bytes in an empty cache", got)
	}
	app = page("mine", "Cache-Control: private")
	z := newExchange("GET", "/b")
	handler(z)
	if z.Memo != nil {
		t.Error("a response that is not stored has a memo")
	}
}

func TestALargeCacheTakesBodiesOfAMebibyte(t *testing.T) {
	for limit, want := range map[int64]int{0: 256 << 10, 1 << 20: 16 << 10, 1 << 30: 1 << 20} {
		if got := New(Options{Bytes: limit}).maxBody; got != want {
			t.Errorf("%d: %d", limit, got)
		}
	}
}
