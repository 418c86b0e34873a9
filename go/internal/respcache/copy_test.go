package respcache

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"passenger/go/internal/compress"
	"passenger/go/internal/httpd"
)

// stream is a body that comes in pieces, like a spool on its way.
type stream struct {
	next   func() (string, error) // nil once it has changed hands
	rest   string
	err    error
	closed *atomic.Int64
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 && s.err == nil {
		s.rest, s.err = s.next()
	}
	if len(s.rest) == 0 {
		return 0, s.err
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Close() error {
	if s.next != nil {
		s.closed.Add(1)
	}
	return nil
}

func (s *stream) Detach() io.ReadCloser {
	moved := *s
	s.next = nil
	return &moved
}

// streaming answers with a stream of what next gives for 0, 1, 2, …
func streaming(closed *atomic.Int64, length int, next func(i int) (string, error), fields ...string) httpd.Handler {
	return func(x *httpd.Exchange) {
		page("", fields...)(x)
		i := -1
		x.Ctx.Response.ImmediateHeaderFlush = true
		x.Ctx.Response.SetBodyStream(&stream{next: func() (string, error) { i++; return next(i) }, closed: closed}, length)
	}
}

// these gives some pieces and then an error.
func these(end error, pieces ...string) func(int) (string, error) {
	return func(i int) (string, error) {
		if i < len(pieces) {
			return pieces[i], nil
		}
		return "", end
	}
}

// steps are what may be outside of the cache.
var steps = map[string]func(httpd.Handler) httpd.Handler{
	"plain": func(h httpd.Handler) httpd.Handler { return h },
	"compressed": func(h httpd.Handler) httpd.Handler {
		return compress.Handler(compress.Options{Levels: compress.Levels{Gzip: 5, Brotli: 4}, MinSize: 1000, Log: slog.New(slog.DiscardHandler)}, h)
	},
}

// decoded is the body as it was before it was encoded.
func (a answer) decoded(t *testing.T) string {
	t.Helper()
	if a.Header.Get("Content-Encoding") == "" {
		return a.body
	}
	r, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func (c *Cache) held() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.copies
}

// passing reports whether any key is remembered as one not to wait for.
func (c *Cache) passing() bool {
	now := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.marks {
		if c.marks[i].kind == markPass && now < c.marks[i].until {
			return true
		}
	}
	return false
}

var html = []string{"Cache-Control: public, max-age=60", "Content-Type: text/html; charset=utf-8", `ETag: "v1"`}

func TestAStreamIsStoredWhenItHasEndedAsItShould(t *testing.T) {
	kilobyte := strings.Repeat("hello world, ", 80)
	broken := errors.New("the worker is gone")
	for name, c := range map[string]struct {
		method string
		length int // announced
		pieces []string
		end    error
		during func(*site) // before the second piece
		stored bool
		passed bool // remembered as one not to wait for
	}{
		"of unknown length":                       {"GET", -1, []string{kilobyte, "end"}, io.EOF, nil, true, false},
		"of unknown length and many pieces":       {"GET", -1, strings.SplitAfter(kilobyte, "o"), io.EOF, nil, true, false},
		"of the length announced":                 {"GET", 2 * len(kilobyte), []string{kilobyte, kilobyte}, io.EOF, nil, true, false},
		"of the largest size":                     {"GET", -1, []string{strings.Repeat("x", 10<<10), strings.Repeat("x", 6<<10)}, io.EOF, nil, true, false},
		"empty":                                   {"GET", -1, nil, io.EOF, nil, true, false},
		"too long":                                {"GET", -1, []string{strings.Repeat("x", 10<<10), strings.Repeat("x", 6<<10+1)}, io.EOF, nil, false, true},
		"too long, as announced":                  {"GET", 16<<10 + 1, []string{strings.Repeat("x", 16<<10+1)}, io.EOF, nil, false, true},
		"broken off":                              {"GET", -1, []string{kilobyte, "more"}, broken, nil, false, false},
		"broken off at once":                      {"GET", -1, nil, broken, nil, false, false},
		"broken off when its length has come":     {"GET", len(kilobyte), []string{kilobyte}, broken, nil, false, false},
		"shorter than announced":                  {"GET", 2 * len(kilobyte), []string{kilobyte}, io.EOF, nil, false, false},
		"longer than announced":                   {"GET", len(kilobyte), []string{kilobyte, "more"}, io.EOF, nil, false, true},
		"its URL purged meanwhile":                {"GET", -1, []string{kilobyte, "end"}, io.EOF, func(s *site) { s.cache.Purge(Purge{URL: "example.org/a"}) }, false, false},
		"everything purged meanwhile":             {"GET", -1, []string{kilobyte, "end"}, io.EOF, func(s *site) { s.cache.Purge(Purge{All: true}) }, false, false},
		"changed meanwhile":                       {"GET", -1, []string{kilobyte, "end"}, io.EOF, func(s *site) { s.become(page("done")); s.ask("POST", "/a") }, false, false},
		"changed meanwhile, and nothing follows":  {"GET", -1, []string{kilobyte, ""}, io.EOF, func(s *site) { s.become(page("done")); s.ask("POST", "/a") }, false, false},
		"another purged meanwhile":                {"GET", -1, []string{kilobyte, "end"}, io.EOF, func(s *site) { s.cache.Purge(Purge{URL: "example.org/b"}) }, true, false},
		"the answer to a HEAD, which has no body": {"HEAD", -1, []string{kilobyte}, io.EOF, nil, false, false},
	} {
		for outside, step := range steps {
			t.Run(name+", "+outside, func(t *testing.T) {
				closed := new(atomic.Int64)
				next := these(c.end, c.pieces...)
				s := newSiteBehind(t, step, Options{Bytes: 1 << 20}, nil)
				s.become(streaming(closed, c.length, func(i int) (string, error) {
					if i == 1 && c.during != nil {
						c.during(s)
					}
					return next(i)
				}, html...))
				a, err := s.try(c.method, "/a", "Accept-Encoding: gzip")
				whole := strings.Join(c.pieces, "")
				if intact := c.end == io.EOF && (c.length < 0 || c.length == len(whole)); intact && err != nil || c.method == "GET" && intact && a.decoded(t) != whole {
					t.Errorf("the client got %d bytes of %d, %v", len(a.body), len(whole), err)
				}
				eventually(t, "the stream was closed", func() bool { return closed.Load() == 1 })
				if got := s.cache.Status(); (got.Stores == 1) != c.stored || got.Entries != int(got.Stores) || s.cache.held() != 0 {
					t.Errorf("%+v, %d bytes held", got, s.cache.held())
				}
				if s.cache.passing() != c.passed {
					t.Errorf("not waited for: %v", !c.passed)
				}
				if err := s.cache.check(); err != nil {
					t.Error(err)
				}
				if !c.stored {
					return
				}
				s.become(page("anew", publicMinute))
				b := s.ask("GET", "/a")
				if b.body != whole || b.ContentLength != int64(len(whole)) || b.Header.Get("Age") != "0" || b.Header.Get("ETag") != `"v1"` || b.Header.Get("Content-Encoding") != "" {
					t.Errorf("the next client got %d bytes of %d, %v", len(b.body), len(whole), b.Header)
				}
				if e := s.ask("GET", "/a", "Accept-Encoding: gzip"); e.decoded(t) != whole || len(whole) > 0 && e.Header.Get("Content-Encoding") != a.Header.Get("Content-Encoding") {
					t.Errorf("the one after got %v", e.Header)
				}
			})
		}
	}
}

func TestAStreamWhoseClientHasGoneIsNotStored(t *testing.T) {
	for outside, step := range steps {
		closed := new(atomic.Int64)
		s := newSiteBehind(t, step, Options{}, streaming(closed, -1, func(int) (string, error) {
			time.Sleep(time.Millisecond)
			return "x", nil
		}, html...))
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET /a HTTP/1.1\r\nHost: example.org\r\nAccept-Encoding: gzip\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
		c.Close()
		eventually(t, "the stream was closed", func() bool { return closed.Load() == 1 })
		if got := s.cache.Status(); got.Stores != 0 || s.cache.held() != 0 || s.cache.passing() {
			t.Errorf("%s: %+v, %d bytes held", outside, got, s.cache.held())
		}
	}
}

func TestAStreamIsNotHeldBack(t *testing.T) {
	for outside, step := range steps {
		more := make(chan struct{})
		s := newSiteBehind(t, step, Options{}, streaming(new(atomic.Int64), -1, func(i int) (string, error) {
			switch i {
			case 0:
				return "first", nil
			case 1:
				<-more
				return "second", nil
			}
			return "", io.EOF
		}, html...))
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "GET /a HTTP/1.1\r\nHost: example.org\r\nAccept-Encoding: gzip\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			if body, err = gzip.NewReader(r.Body); err != nil {
				t.Fatal(err)
			}
		}
		first := make([]byte, 5)
		if _, err := io.ReadFull(body, first); err != nil || string(first) != "first" {
			t.Fatalf("%s: %q, %v", outside, first, err)
		}
		close(more)
		if rest, err := io.ReadAll(body); err != nil || string(rest) != "second" {
			t.Errorf("%s: %q, %v", outside, rest, err)
		}
		if a := s.ask("GET", "/a"); a.Header.Get("Age") == "" || a.body != "firstsecond" {
			t.Errorf("%s: %q", outside, a.body)
		}
	}
}

func TestNobodyWaitsForTheBodyOfAStream(t *testing.T) {
	c := New(Options{})
	now := c.epoch
	c.now = func() time.Time { return now }
	app := streaming(new(atomic.Int64), -1, these(io.EOF, "old"), publicMinute)
	handler := c.Handler(func(x *httpd.Exchange) { app(x) })
	old := newExchange("GET", "/a")
	handler(old)
	if len(c.flights) != 0 || c.passing() {
		t.Errorf("%d flights; not waited for: %v", len(c.flights), c.passing())
	}

	now = now.Add(time.Second)
	app = page("new", publicMinute)
	handler(newExchange("GET", "/a"))
	if body := old.Ctx.Response.Body(); string(body) != "old" {
		t.Errorf("%q", body)
	}
	again := newExchange("GET", "/a")
	handler(again)
	if got := c.Status(); string(again.Ctx.Response.Body()) != "new" || got.Stores != 1 || c.held() != 0 {
		t.Errorf("in the place of a later response there is %q, %+v", again.Ctx.Response.Body(), got)
	}
}

func TestTheAgeOfAStreamBeginsWithItsHead(t *testing.T) {
	s := newSite(t, Options{}, nil)
	s.become(streaming(new(atomic.Int64), -1, func(i int) (string, error) {
		s.advance(5 * time.Second)
		return these(io.EOF, "hello")(i)
	}, publicMinute, "Age: 7"))
	s.ask("GET", "/a")
	if a := s.ask("GET", "/a"); a.Header.Get("Age") != "17" {
		t.Errorf("aged %s", a.Header.Get("Age"))
	}
}

func TestVariantsOfStreamsAreToldApart(t *testing.T) {
	s := newSite(t, Options{}, func(x *httpd.Exchange) {
		language := "none"
		for _, f := range x.Fields {
			if string(f.Name) == "HTTP_ACCEPT_LANGUAGE" || f.Key != 0 && f.Key.String() == "HTTP_ACCEPT_LANGUAGE" {
				language = string(f.Value)
			}
		}
		streaming(new(atomic.Int64), -1, these(io.EOF, language), publicMinute, "Vary: Accept-Language")(x)
	})
	for range 2 {
		for _, language := range []string{"de", "en"} {
			if a := s.ask("GET", "/a", "Accept-Language: "+language); a.body != language {
				t.Errorf("%s: %q", language, a.body)
			}
		}
	}
	if got := s.cache.Status(); got.Stores != 2 || got.Hits != 2 {
		t.Errorf("%+v", got)
	}
}

// direct is a stream that has a faster way to the client.
type direct struct{ stream }

func (*direct) WriteTo(io.Writer) (int64, error) { return 0, nil }

func TestWhichStreamsAreLeftAlone(t *testing.T) {
	plain := func() io.Reader {
		return &stream{next: func() (string, error) { return "", io.EOF }, closed: new(atomic.Int64)}
	}
	for name, c := range map[string]struct {
		method string
		body   io.Reader
		fields []string
		left   bool
	}{
		"one that may be stored is not": {"GET", plain(), []string{publicMinute}, false},
		"a private one is":              {"GET", plain(), []string{"Cache-Control: private"}, true},
		"one that sets a cookie is":     {"GET", plain(), []string{publicMinute, "Set-Cookie: a=b"}, true},
		"one that names no lifetime is": {"GET", plain(), nil, true},
		"an event stream is":            {"GET", plain(), []string{publicMinute, "Content-Type: Text/Event-Stream ; charset=utf-8"}, true},
		"one with its own WriteTo is":   {"GET", &direct{}, []string{publicMinute}, true},
		"one that stays in its hands":   {"GET", struct{ io.Reader }{plain()}, []string{publicMinute}, true},
		"one for a HEAD is":             {"HEAD", plain(), []string{publicMinute}, true},
		"one for a POST is":             {"POST", plain(), []string{publicMinute}, true},
		"a part is":                     {"GET", plain(), []string{"206", publicMinute}, true},
		"an error is":                   {"GET", plain(), []string{"500", publicMinute}, true},
		"one that varies by all is":     {"GET", plain(), []string{publicMinute, "Vary: *"}, true},
	} {
		cache := New(Options{})
		x := newExchange(c.method, "/a")
		cache.Handler(func(x *httpd.Exchange) {
			page("", c.fields...)(x)
			x.Ctx.Response.ImmediateHeaderFlush = true
			x.Ctx.Response.SetBodyStream(c.body, -1)
		})(x)
		_, follows := x.Ctx.Response.BodyStream().(*copiedBody)
		if follows == c.left || (x.Ctx.Response.BodyStream() == c.body) != c.left || !x.Ctx.Response.ImmediateHeaderFlush {
			t.Errorf("%s: left alone: %v", name, !follows)
		}
		if err := x.Ctx.Response.CloseBodyStream(); err != nil || cache.held() != 0 {
			t.Errorf("%s: %v, %d bytes held", name, err, cache.held())
		}
	}
}

func TestAStreamThatHasChangedHandsIsClosedByItsNewOwnerOnly(t *testing.T) {
	closed := new(atomic.Int64)
	cache := New(Options{})
	x := newExchange("GET", "/a")
	cache.Handler(streaming(closed, -1, these(io.EOF, "hello"), publicMinute))(x)
	old := x.Ctx.Response.BodyStream().(*copiedBody)
	moved := old.Detach()
	if _, err := old.Read(make([]byte, 1)); err == nil || old.Close() != nil || closed.Load() != 0 {
		t.Errorf("%v, closed %d times", err, closed.Load())
	}
	if body, err := io.ReadAll(moved); err != nil || string(body) != "hello" {
		t.Errorf("%q, %v", body, err)
	}
	if moved.Close() != nil || moved.Close() != nil || closed.Load() != 1 || cache.Status().Entries != 1 || cache.held() != 0 {
		t.Errorf("closed %d times, %+v", closed.Load(), cache.Status())
	}
}

func TestCopiesUnderWayAreBounded(t *testing.T) {
	const limit = 1 << 20
	c := New(Options{Bytes: limit})
	piece := strings.Repeat("x", 4<<10)
	handler := c.Handler(streaming(new(atomic.Int64), -1, these(io.EOF, piece, piece), publicMinute, "X-Long: "+strings.Repeat("y", 500)))
	var slow []*httpd.Exchange
	for i := range 1000 {
		x := newExchange("GET", fmt.Sprintf("/%d", i))
		handler(x)
		slow = append(slow, x)
		if n, err := io.ReadFull(x.Ctx.Response.BodyStream(), make([]byte, len(piece))); err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if n := c.held(); n > limit/maxCopiesShare {
			t.Fatalf("%d bytes held", n)
		}
	}
	if n := c.held(); n < limit/maxCopiesShare/2 {
		t.Errorf("only %d bytes held", n)
	}
	if c.passing() {
		t.Error("what there was no room for is remembered as not storable")
	}
	for i, x := range slow {
		if rest, err := io.ReadAll(x.Ctx.Response.BodyStream()); err != nil || string(rest) != piece {
			t.Fatalf("%d: %d bytes more, %v", i, len(rest), err)
		}
	}
	stores := c.Status().Stores
	if stores == 0 || stores > limit/maxCopiesShare/uint64(len(piece)) || c.held() != 0 {
		t.Errorf("%d stored, %d bytes held", stores, c.held())
	}
	handler(newExchange("GET", "/0"))
	x := newExchange("GET", "/later")
	handler(x)
	if len(x.Ctx.Response.Body()) != 2*len(piece) || c.Status().Stores != stores+1 {
		t.Errorf("when there is room again: %+v", c.Status())
	}
}

func TestStreamsUnderRandomLoad(t *testing.T) {
	c := New(Options{Bytes: 512 << 10})
	broken := errors.New("gone")
	handler := c.Handler(func(x *httpd.Exchange) {
		if string(x.Method) == "POST" {
			page("", "303")(x)
			return
		}
		n := int(x.Target[len(x.Target)-1]) % 12
		i, end := 0, io.EOF
		if n == 5 {
			end = broken
		}
		streaming(new(atomic.Int64), -1, func(int) (string, error) {
			if i++; i > n {
				return "", end
			}
			return strings.Repeat("x", 1000), nil
		}, publicMinute)(x)
	})
	var clients sync.WaitGroup
	for seed := range uint64(4) {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(seed, 2))
			for range 2000 {
				target := fmt.Sprintf("/%d", int(r.ExpFloat64()*50))
				switch r.IntN(20) {
				case 0:
					handler(newExchange("POST", target))
				case 1:
					c.Purge(Purge{Prefix: target})
				default:
					x := newExchange("GET", target)
					handler(x)
					want := int(target[len(target)-1]) % 12 * 1000
					if !x.Ctx.Response.IsBodyStream() {
						if n := len(x.Ctx.Response.Body()); n != want || want == 5000 {
							t.Errorf("%s: %d bytes from the cache", target, n)
						}
						continue
					}
					var body bytes.Buffer
					_, err := io.CopyN(&body, x.Ctx.Response.BodyStream(), int64(r.IntN(2)*20_000)+500)
					if err == io.EOF && body.Len() != want {
						t.Errorf("%s: %d bytes", target, body.Len())
					}
					if err := x.Ctx.Response.CloseBodyStream(); err != nil {
						t.Error(err)
					}
				}
				if n := c.held(); n < 0 || n > 512<<10/maxCopiesShare {
					t.Errorf("%d bytes held", n)
				}
			}
		})
	}
	clients.Wait()
	if err := c.check(); err != nil {
		t.Error(err)
	}
	if got := c.Status(); got.Stores == 0 || got.Hits == 0 || c.held() != 0 || len(c.flights) != 0 {
		t.Errorf("%+v, %d bytes held, %d flights", got, c.held(), len(c.flights))
	}
}

func TestARefreshMayBeAStream(t *testing.T) {
	const stale = "Cache-Control: public, max-age=60, stale-while-revalidate=30"
	for name, c := range map[string]struct {
		next func(ended <-chan struct{}) func(int) (string, error)
		want string // what is in the cache then
	}{
		"that is stored":                 {func(<-chan struct{}) func(int) (string, error) { return these(io.EOF, "n", "ew") }, "new"},
		"that is too long":               {func(<-chan struct{}) func(int) (string, error) { return these(io.EOF, strings.Repeat("x", 257<<10)) }, ""},
		"that breaks off":                {func(<-chan struct{}) func(int) (string, error) { return these(errors.New("gone"), "n") }, "old"},
		"that does not end before it is": {waitFor, "old"},
	} {
		closed, ended := new(atomic.Int64), make(chan struct{})
		s := newSite(t, Options{wait: 10 * time.Millisecond}, page("old", stale))
		s.ask("GET", "/a")
		s.advance(61 * time.Second)
		s.become(func(x *httpd.Exchange) {
			streaming(closed, -1, c.next(ended), stale)(x)
			old := x.Ctx.Response.BodyStream().(*stream)
			x.Ctx.Response.SetBodyStream(&ending{stream: old.Detach().(*stream), ended: ended}, -1)
		})
		s.ask("GET", "/a")
		eventually(t, "the refresh ended", func() bool {
			s.cache.mu.Lock()
			defer s.cache.mu.Unlock()
			return s.cache.refreshes == 0
		})
		s.become(page("", "500"))
		a := s.ask("GET", "/a")
		if a.body != c.want || closed.Load() != 1 || s.cache.held() != 0 {
			t.Errorf("%s: %q, closed %d times, %d bytes held", name, a.body, closed.Load(), s.cache.held())
		}
	}
	eventually(t, "no goroutine was reading any more", func() bool {
		stacks := make([]byte, 1<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "respcache.(*copiedBody)")
	})
}

// waitFor gives a stream that comes to nothing until it is closed.
func waitFor(ended <-chan struct{}) func(int) (string, error) {
	return func(i int) (string, error) {
		if i == 0 {
			return "n", nil
		}
		<-ended
		return "", io.ErrClosedPipe
	}
}

// ending is a stream that may be closed while it is read, as a spool may.
type ending struct {
	*stream
	ended chan struct{}
}

func (e *ending) Close() error {
	if e.stream != nil {
		close(e.ended)
		return e.stream.Close()
	}
	return nil
}

func (e *ending) Detach() io.ReadCloser {
	moved := *e
	e.stream = nil
	return &moved
}

func TestAStreamThatMayNotBeStoredAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	app := newPrepared("content-type", "text/html", "cache-control", "max-age=0, private, must-revalidate")
	body := &stream{}
	handler := New(Options{}).Handler(func(x *httpd.Exchange) {
		app.serve(x)
		x.Ctx.Response.SetBodyStream(body, -1)
	})
	x := newExchange("GET", "/a", withCookie...)
	request := func() {
		handler(x)
		x.Ctx.Response.Reset()
	}
	request()
	if n := testing.AllocsPerRun(1000, request); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
