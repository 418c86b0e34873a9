package respcache

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

func TestAStaleResponseIsServedWhileItIsRefreshedOnce(t *testing.T) {
	s := newSite(t, Options{}, page("old", "Cache-Control: max-age=60, stale-while-revalidate=30, public", `ETag: "v1"`))
	s.ask("GET", "/a?b")
	s.advance(70 * time.Second)
	release := make(chan struct{})
	var seen atomic.Pointer[httpd.Exchange]
	s.become(func(x *httpd.Exchange) {
		<-release
		seen.Store(x)
		page("new", "Cache-Control: public, max-age=60, stale-while-revalidate=30")(x)
	})
	before := s.calls.Load()
	for range 5 {
		if a := s.ask("GET", "/a?b", "Cookie: c=1", "X-A: 1", `If-None-Match: "v0"`, "Cache-Control: max-stale=1"); a.body != "old" || a.Header.Get("Age") != "70" {
			t.Fatalf("%q, aged %s", a.body, a.Header.Get("Age"))
		}
	}
	close(release)
	eventually(t, "the new response was served", func() bool { return s.ask("GET", "/a?b").body == "new" })
	if n := s.calls.Load() - before; n != 1 {
		t.Errorf("the app was asked %d times", n)
	}
	x := seen.Load()
	if string(x.Target) != "/a?b" || string(x.Host) != "example.org" || x.Conn.RemoteHost() != "127.0.0.1" {
		t.Errorf("%s %s from %s", x.Host, x.Target, x.Conn.RemoteHost())
	}
	for _, f := range x.Fields {
		if f.Key == link.KeyHTTPIfNoneMatch || f.Key == link.KeyHTTPCacheControl {
			t.Errorf("%s is passed on", f.Key)
		}
	}
	if cookie, _ := x.Field(link.KeyHTTPCookie); string(cookie) != "c=1" {
		t.Errorf("cookie %q", cookie)
	}
	if got := s.cache.Status(); got.StaleHits < 5 || got.Refreshes != 1 || got.Stores != 2 {
		t.Errorf("%+v", got)
	}
}

func TestAfterItsWindowAStaleResponseIsNotServed(t *testing.T) {
	for name, c := range map[string]struct {
		control string
		after   time.Duration
		request string
		asked   int64
	}{
		"the window has passed":                      {"public, max-age=60, stale-while-revalidate=30", 90 * time.Second, "X: y", 1},
		"must-revalidate":                            {"public, max-age=60, stale-while-revalidate=30, must-revalidate", 61 * time.Second, "X: y", 1},
		"proxy-revalidate":                           {"public, max-age=60, stale-while-revalidate=30, proxy-revalidate", 61 * time.Second, "X: y", 1},
		"s-maxage includes proxy-revalidate":         {"s-maxage=60, stale-while-revalidate=30", 61 * time.Second, "X: y", 1},
		"the client wants it fresh":                  {"public, max-age=60, stale-while-revalidate=30", 61 * time.Second, "Cache-Control: min-fresh=0", 1},
		"the client wants no old one":                {"public, max-age=60, stale-while-revalidate=30", 61 * time.Second, "Cache-Control: max-age=60", 1},
		"the client takes it stale":                  {"public, max-age=60", 70 * time.Second, "Cache-Control: max-stale=10", 0},
		"the client takes it stale, but not so much": {"public, max-age=60", 70 * time.Second, "Cache-Control: max-stale=9", 1},
		"the client takes it however stale":          {"public, max-age=60", time.Hour, "Cache-Control: max-stale", 0},
		"the app does not want that":                 {"public, max-age=60, must-revalidate", time.Hour, "Cache-Control: max-stale", 1},
		"for an error there is another window":       {"public, max-age=60, stale-if-error=300", 61 * time.Second, "X: y", 1},
	} {
		s := newSite(t, Options{}, page("hello", "Cache-Control: "+c.control))
		s.ask("GET", "/a")
		s.advance(c.after)
		if n := s.asked(func() { s.ask("GET", "/a", c.request) }); n != c.asked {
			t.Errorf("%s: the app was asked %d times", name, n)
		}
	}
}

func TestARefreshThatGivesNothingStorable(t *testing.T) {
	for name, c := range map[string]struct {
		app   httpd.Handler
		extra string
		kept  bool
	}{
		"an error leaves the old response":             {page("oops", "500"), "X: y", true},
		"a private page ends it":                       {page("mine", "Cache-Control: private"), "X: y", false},
		"a private page for somebody with a cookie no": {page("mine", "Cache-Control: private"), "Cookie: s=1", true},
		"a page that is gone ends it":                  {page("gone", "404"), "X: y", false},
		"a stream ends it": {func(x *httpd.Exchange) {
			page("", publicMinute)(x)
			x.Ctx.Response.SetBodyStream(strings.NewReader("stream"), -1)
		}, "X: y", false},
	} {
		s := newSite(t, Options{}, page("old", "Cache-Control: public, max-age=60, stale-while-revalidate=30"))
		s.ask("GET", "/a")
		s.advance(61 * time.Second)
		s.become(c.app)
		if a := s.ask("GET", "/a", c.extra); a.body != "old" {
			t.Errorf("%s: %q", name, a.body)
		}
		eventually(t, "the refresh ended", func() bool {
			s.cache.mu.Lock()
			defer s.cache.mu.Unlock()
			return s.cache.refreshes == 0
		})
		if n := s.cache.Status().Entries; (n == 1) != c.kept {
			t.Errorf("%s: %d entries", name, n)
		}
		if c.kept {
			if a := s.ask("GET", "/a"); a.body != "old" || s.cache.Status().Refreshes != 1 {
				t.Errorf("%s: %q, %d refreshes at once", name, a.body, s.cache.Status().Refreshes)
			}
			s.advance(2 * time.Second)
			s.ask("GET", "/a")
			if n := s.cache.Status().Refreshes; n != 2 {
				t.Errorf("%s: %d refreshes later", name, n)
			}
		}
	}
}

func TestCloseWaitsForRefreshesAndBeginsNoMore(t *testing.T) {
	s := newSite(t, Options{}, page("old", "Cache-Control: max-age=60, stale-while-revalidate=30"))
	s.ask("GET", "/a")
	s.ask("GET", "/b")
	s.advance(61 * time.Second)
	release, closed := make(chan struct{}), make(chan struct{})
	s.become(func(x *httpd.Exchange) { <-release; page("new", publicMinute)(x) })
	s.ask("GET", "/a")
	go func() { s.cache.Close(); close(closed) }()
	eventually(t, "the cache was closing", func() bool { s.cache.mu.Lock(); defer s.cache.mu.Unlock(); return s.cache.closed })
	if a := s.ask("GET", "/b"); a.body != "old" || s.cache.Status().Refreshes != 1 {
		t.Errorf("%q, %+v", a.body, s.cache.Status())
	}
	select {
	case <-closed:
		t.Error("Close has not waited")
	default:
	}
	close(release)
	<-closed
	if a := s.ask("GET", "/a"); a.body != "new" {
		t.Errorf("%q", a.body)
	}
}

func TestAStaleResponseStandsInForAnError(t *testing.T) {
	for name, c := range map[string]struct {
		control string
		app     httpd.Handler
		after   time.Duration
		request string
		status  int
	}{
		"within the window":                {"stale-if-error=30", page("oops", "500", "X-Oops: 1", "Set-Cookie: a=b"), 89 * time.Second, "X: y", 200},
		"for a HEAD":                       {"stale-if-error=30", page("", "503"), 89 * time.Second, "HEAD", 200},
		"not after it":                     {"stale-if-error=30", page("oops", "500"), 90 * time.Second, "X: y", 500},
		"not without one":                  {"public", page("oops", "500"), 61 * time.Second, "X: y", 500},
		"not if that is forbidden":         {"stale-if-error=30, must-revalidate", page("oops", "500"), 61 * time.Second, "X: y", 500},
		"not for what is the app's word":   {"stale-if-error=30", page("oops", "403"), 61 * time.Second, "X: y", 403},
		"not for who wants a fresh one":    {"stale-if-error=30", page("oops", "500"), 61 * time.Second, "Cache-Control: no-cache", 500},
		"not for what varies":              {"stale-if-error=30", page("oops", "500"), 61 * time.Second, "Accept: text/csv", 500},
		"not for those with cookies":       {"stale-if-error=30", page("oops", "500"), 61 * time.Second, "Cookie: a=b", 500},
		"in place of a stream":             {"stale-if-error=30", streamed(502), 61 * time.Second, "X: y", 200},
		"with a condition that it fulfils": {"stale-if-error=30", page("oops", "500"), 61 * time.Second, `If-None-Match: "v1"`, 304},
	} {
		s := newSite(t, Options{}, page("hello", "Cache-Control: max-age=60, "+c.control, `ETag: "v1"`, "x-lower: 1"))
		s.ask("GET", "/a")
		s.advance(c.after)
		s.become(c.app)
		method := "GET"
		if c.request == "HEAD" {
			method, c.request = "HEAD", "X: y"
		}
		a := s.ask(method, "/a", c.request)
		if a.StatusCode != c.status {
			t.Errorf("%s: status %d", name, a.StatusCode)
		}
		if c.status == 200 && (method == "GET" && a.body != "hello" || a.ContentLength != 5 || a.Header.Get("X-Oops") != "" || a.Header.Get("Set-Cookie") != "" || a.Header.Get("X-Lower") != "1" || a.Header.Get("Age") == "") {
			t.Errorf("%s: %q, %v", name, a.body, a.Header)
		}
	}
}

func streamed(status int) httpd.Handler {
	return func(x *httpd.Exchange) {
		x.Ctx.SetStatusCode(status)
		x.Ctx.Response.ImmediateHeaderFlush = true
		x.Ctx.Response.SetBodyStream(strings.NewReader("oops"), -1)
	}
}

func TestUnsafeRequestsInvalidateWhatTheyChange(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		target string
		fields []string // of the response
		extra  string   // of the request
		gone   bool     // /a?b is not answered from the cache any more
	}{
		"a POST":                               {"POST", "/a?b", nil, "X: y", true},
		"a PUT":                                {"PUT", "/a?b", []string{"204"}, "X: y", true},
		"a PATCH":                              {"PATCH", "/a?b", nil, "X: y", true},
		"a DELETE":                             {"DELETE", "/a?b", []string{"303", "Location: /"}, "X: y", true},
		"an unknown method":                    {"MOVE", "/a?b", nil, "X: y", true},
		"a POST with another query does not":   {"POST", "/a", nil, "X: y", false},
		"a POST that fails does not":           {"POST", "/a?b", []string{"422"}, "X: y", false},
		"a POST that the app dies of does not": {"POST", "/a?b", []string{"500"}, "X: y", false},
		"OPTIONS does not":                     {"OPTIONS", "/a?b", nil, "X: y", false},
		"by Location":                          {"POST", "/x", []string{"302", "Location: /a?b#c"}, "X: y", true},
		"by a whole Location":                  {"POST", "/x", []string{"302", "location: http://Example.org/a?b"}, "X: y", true},
		"by a whole Location of the other scheme":   {"POST", "/x", []string{"302", "Location: https://example.org/a?b"}, "X: y", true},
		"by a Location without scheme":              {"POST", "/x", []string{"302", "Location: //example.org/a?b"}, "X: y", true},
		"by a relative Location":                    {"POST", "/x/y", []string{"302", "Location: ../a?b"}, "X: y", true},
		"by Content-Location":                       {"POST", "/x", []string{"201", "Content-Location: /a?b"}, "X: y", true},
		"by a Location on the forwarded host":       {"POST", "/x", []string{"302", "Location: http://front.example/a?b"}, "X-Forwarded-Host: front.example", true},
		"by a Location on another host it does not": {"POST", "/x", []string{"302", "Location: http://other.example/a?b"}, "X: y", false},
		"by a Location that fails it does not":      {"POST", "/x", []string{"500", "Location: /a?b"}, "X: y", false},
		"by a Location that is none it does not":    {"POST", "/x", []string{"302", "Location: mailto:a?b"}, "X: y", false},
	} {
		s := newSite(t, Options{}, page("hello", publicMinute, "Vary: X-V"))
		s.ask("GET", "/a?b")
		s.ask("GET", "/a?b", "X-V: 1")
		s.ask("GET", "/a?b", "Accept: text/csv")
		s.become(page("", c.fields...))
		s.ask(c.method, c.target, c.extra)
		s.become(page("hello", publicMinute, "Vary: X-V"))
		got := s.asked(func() {
			s.ask("GET", "/a?b")
			s.ask("GET", "/a?b", "X-V: 1")
			s.ask("GET", "/a?b", "Accept: text/csv")
		})
		if (got == 3) != c.gone || got != 0 && got != 3 {
			t.Errorf("%s: the app was asked %d times", name, got)
		}
	}
}

func TestPurges(t *testing.T) {
	for name, c := range map[string]struct {
		q       Purge
		removed int
		rest    string
	}{
		"a URL":                           {Purge{URL: "http://a.example/posts?page=2"}, 1, "a/ a/posts a/postscript b/posts?page=2"},
		"its other scheme and case":       {Purge{URL: "HTTPS://A.Example/posts?page=2#x"}, 1, "a/ a/posts a/postscript b/posts?page=2"},
		"a URL without a scheme":          {Purge{URL: "a.example/posts"}, 2, "a/ a/posts?page=2 a/postscript b/posts?page=2"},
		"a URL with slashes only":         {Purge{URL: "//a.example"}, 1, "a/posts a/posts?page=2 a/postscript b/posts?page=2"},
		"a path on all hosts":             {Purge{URL: "/posts?page=2"}, 2, "a/ a/posts a/postscript"},
		"a URL that is not there":         {Purge{URL: "/nothing"}, 0, "a/ a/posts a/posts?page=2 a/postscript b/posts?page=2"},
		"a prefix":                        {Purge{Prefix: "/posts"}, 5, "a/"},
		"a prefix on a host":              {Purge{Prefix: "http://a.example/posts?"}, 1, "a/ a/posts a/postscript b/posts?page=2"},
		"a host":                          {Purge{Host: "A.example"}, 5, "b/posts?page=2"},
		"everything":                      {Purge{All: true}, 6, ""},
		"nothing":                         {Purge{}, 0, "a/ a/posts a/posts?page=2 a/postscript b/posts?page=2"},
		"two things at once: nothing":     {Purge{All: true, Host: "a.example"}, 0, "a/ a/posts a/posts?page=2 a/postscript b/posts?page=2"},
		"a host that is a URL: nothing":   {Purge{Host: "a.example/"}, 0, "a/ a/posts a/posts?page=2 a/postscript b/posts?page=2"},
		"a URL that begins with a query ": {Purge{URL: "?page=2"}, 0, "a/ a/posts a/posts?page=2 a/postscript b/posts?page=2"},
	} {
		cache := New(Options{})
		handler := cache.Handler(page("x", publicMinute, "Vary: Accept"))
		for _, u := range []string{"a/", "a/posts", "a/posts?page=2", "a/postscript", "b/posts?page=2", "a/posts+"} {
			target, again := strings.CutSuffix(u[1:], "+")
			x := newExchange("GET", target)
			if again {
				x = newExchange("GET", target, "HTTP_ACCEPT", "text/csv")
			}
			x.Host = []byte(u[:1] + ".example")
			handler(x)
		}
		if n := cache.Purge(c.q); n != c.removed {
			t.Errorf("%s: %d removed", name, n)
		}
		if refused := c.q.Check() != nil; refused != (cache.Status().Purges == 0) {
			t.Errorf("%s: %v", name, c.q.Check())
		}
		var rest []string
		for _, u := range []string{"a/", "a/posts", "a/posts?page=2", "a/postscript", "b/posts?page=2"} {
			if cache.table.resource(cache.home(u), []byte(u[:1]+".example"+u[1:])) != nil {
				rest = append(rest, u)
			}
		}
		if got := strings.Join(rest, " "); got != c.rest {
			t.Errorf("%s: left are %s", name, got)
		}
		cache.Purge(Purge{All: true})
		if got := cache.Status(); got.Bytes != 0 || got.Entries != 0 || len(cache.table.resources) != 0 || cache.table.oldest != nil || cache.table.newest != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// home is the hash of a URL on the example hosts.
func (c *Cache) home(u string) uint64 {
	p := &probe{x: newExchange("GET", u[1:])}
	p.x.Host = []byte(u[:1] + ".example")
	p.read(c, p.x)
	return p.home
}

func TestAResponseThatWasBegunBeforeAChangeIsNotStoredAfterIt(t *testing.T) {
	for name, change := range map[string]func(*site){
		"a POST":           func(s *site) { s.ask("POST", "/a") },
		"a redirect to it": func(s *site) { s.ask("POST", "/x", "X-To: /a") },
		"a purge":          func(s *site) { s.cache.Purge(Purge{URL: "example.org/a"}) },
		"a prefix":         func(s *site) { s.cache.Purge(Purge{Prefix: "/"}) },
		"a host":           func(s *site) { s.cache.Purge(Purge{Host: "example.org"}) },
		"everything":       func(s *site) { s.cache.Purge(Purge{All: true}) },
	} {
		begun, release := make(chan struct{}, 1), make(chan struct{})
		s := newSite(t, Options{}, nil)
		s.become(func(x *httpd.Exchange) {
			if string(x.Method) == "POST" {
				page("", "302", "Location: /a")(x)
				return
			}
			begun <- struct{}{}
			<-release
			page("old", publicMinute)(x)
		})
		var waiting sync.WaitGroup
		waiting.Go(func() { s.ask("GET", "/a") })
		<-begun
		change(s)
		s.become(page("new", publicMinute))
		if a := s.ask("GET", "/a"); a.body != "new" { // it must not wait for the old one either
			t.Errorf("%s: %q", name, a.body)
		}
		close(release)
		waiting.Wait()
		if a := s.ask("GET", "/a"); a.body != "new" || a.Header.Get("Age") == "" {
			t.Errorf("%s: %q", name, a.body)
		}
	}
}
