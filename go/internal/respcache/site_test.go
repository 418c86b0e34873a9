package respcache

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/httpd"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// site is a server with a cache and a stand-in for the app, on a clock that
// stands still.
type site struct {
	testing.TB
	cache *Cache
	addr  string
	calls atomic.Int64 // of the app

	mu  sync.Mutex
	now time.Time
	app httpd.Handler
}

func newSite(t testing.TB, o Options, app httpd.Handler) *site {
	t.Helper()
	return newSiteBehind(t, func(h httpd.Handler) httpd.Handler { return h }, o, app)
}

// newSiteBehind is newSite with a step outside of the cache.
func newSiteBehind(t testing.TB, step func(httpd.Handler) httpd.Handler, o Options, app httpd.Handler) *site {
	t.Helper()
	s := &site{TB: t, now: time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC), app: app}
	o.Now = func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.now
	}
	s.cache = New(o)
	handler := s.cache.Handler(func(x *httpd.Exchange) {
		s.calls.Add(1)
		s.mu.Lock()
		app := s.app
		s.mu.Unlock()
		app(x)
	})
	refuse := func(ctx *fasthttp.RequestCtx, status int, reason string) { ctx.Error(reason, status) }
	server := httpd.NewServer(step(handler), refuse, slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	s.addr = l.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		serving.Wait()
		s.cache.Close()
	})
	return s
}

func (s *site) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// become changes the app.
func (s *site) become(app httpd.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.app = app
}

type answer struct {
	*http.Response
	body string
}

// ask sends a request; fields are lines like "Cookie: a=b". There is a Host
// unless they have one.
func (s *site) ask(method, target string, fields ...string) answer {
	s.Helper()
	a, err := s.try(method, target, fields...)
	if err != nil {
		s.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}

func (s *site) try(method, target string, fields ...string) (answer, error) {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	protocol := " HTTP/1.1\r\n"
	var b strings.Builder
	host := false
	for _, f := range fields {
		if f == "HTTP/1.0" {
			protocol = " HTTP/1.0\r\n"
			continue
		}
		host = host || strings.HasPrefix(f, "Host:")
		b.WriteString(f + "\r\n")
	}
	if !host {
		b.WriteString("Host: example.org\r\n")
	}
	if _, err := io.WriteString(c, method+" "+target+protocol+b.String()+"Connection: close\r\n\r\n"); err != nil {
		return answer{}, err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(r.Body)
	return answer{r, string(body)}, err
}

// asked runs f and returns how often the app was asked meanwhile.
func (s *site) asked(f func()) int64 {
	before := s.calls.Load()
	f()
	return s.calls.Load() - before
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came about that " + what)
		}
	}
}

// page answers 200 with a body and the header lines given; a line that is a
// number is the status.
func page(body string, fields ...string) httpd.Handler {
	return func(x *httpd.Exchange) {
		x.Ctx.SetStatusCode(200)
		for _, f := range fields {
			name, value, ok := strings.Cut(f, ": ")
			if !ok {
				status := 0
				for _, d := range f {
					status = status*10 + int(d-'0')
				}
				x.Ctx.SetStatusCode(status)
				continue
			}
			x.Ctx.Response.Header.Add(name, value)
		}
		x.Ctx.SetBodyString(body)
	}
}

const publicMinute = "Cache-Control: public, max-age=60"
