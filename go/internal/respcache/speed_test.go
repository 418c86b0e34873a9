package respcache

import (
	"testing"

	"passenger/go/internal/httpd"
)

// browser is what a browser sends.
var browser = []string{
	"HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
	"HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
	"HTTP_ACCEPT_LANGUAGE", "en-US,en;q=0.5",
	"HTTP_ACCEPT_ENCODING", "gzip, deflate, br",
	"HTTP_CONNECTION", "keep-alive",
	"HTTP_UPGRADE_INSECURE_REQUESTS", "1",
}

var withCookie = append(append([]string{}, browser...), "HTTP_COOKIE", "_session=abcdef")

// prepared is an app that does next to nothing: the response is there already.
type prepared struct {
	fields [][2][]byte
	body   []byte
}

func (a *prepared) serve(x *httpd.Exchange) {
	for i := range a.fields {
		x.Ctx.Response.Header.AddBytesKV(a.fields[i][0], a.fields[i][1])
	}
	x.Ctx.Response.SetBodyRaw(a.body)
}

func newPrepared(lines ...string) *prepared {
	a := &prepared{body: []byte("hello world")}
	for i := 0; i < len(lines); i += 2 {
		a.fields = append(a.fields, [2][]byte{[]byte(lines[i]), []byte(lines[i+1])})
	}
	return a
}

var paths = map[string]struct {
	method   string
	request  []string
	response []string
}{
	"a private page, with cookies":      {"GET", withCookie, []string{"content-type", "text/html", "cache-control", "max-age=0, private, must-revalidate", "etag", `W/"abc"`, "x-request-id", "1", "x-runtime", "0.1"}},
	"a private page that is remembered": {"GET", browser, []string{"content-type", "text/html", "cache-control", "max-age=0, private, must-revalidate"}},
	"a page that says nothing":          {"GET", browser, []string{"content-type", "text/html"}},
	"a POST":                            {"POST", withCookie, []string{"location", "http://example.org/posts/1", "content-type", "text/html"}},
	"a request with Authorization":      {"GET", append(append([]string{}, browser...), "HTTP_AUTHORIZATION", "x"), nil},
	"a hit":                             {"GET", withCookie, []string{"content-type", "text/html", "cache-control", "public, max-age=3600", "etag", `W/"abc"`}},
	"a hit that varies":                 {"GET", withCookie, []string{"content-type", "text/html", "cache-control", "public, max-age=3600", "vary", "Accept-Encoding"}},
}

func TestThePathsOfAWarmCacheAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, path := range paths {
		handler := New(Options{VaryByCookie: "lang"}).Handler(newPrepared(path.response...).serve)
		x := newExchange(path.method, "/posts/1", path.request...)
		request := func() {
			x.Ctx.Response.Header.DisableNormalizing()
			handler(x)
			x.Ctx.Response.Reset()
		}
		for range 10 {
			request()
		}
		if n := testing.AllocsPerRun(1000, request); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestAFirstSeenURLThatSaysNothingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	handler := New(Options{}).Handler(newPrepared("content-type", "text/html").serve)
	x := newExchange("GET", "/posts/00000000", browser...)
	request := func() {
		for i := len(x.Target) - 1; ; i-- {
			if x.Target[i]++; x.Target[i] <= '9' {
				break
			}
			x.Target[i] = '0'
		}
		handler(x)
		x.Ctx.Response.Reset()
	}
	for range 1000 {
		request()
	}
	if n := testing.AllocsPerRun(5000, request); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The app's own part is in "without a cache", to be subtracted.
func BenchmarkPaths(b *testing.B) {
	run := func(name string, handler httpd.Handler, method string, request []string) {
		b.Run(name, func(b *testing.B) {
			x := newExchange(method, "/posts/1", request...)
			b.ReportAllocs()
			for b.Loop() {
				handler(x)
				x.Ctx.Response.Reset()
			}
		})
	}
	for name, path := range paths {
		app := newPrepared(path.response...).serve
		run(name, New(Options{}).Handler(app), path.method, path.request)
		run(name+": without a cache", app, path.method, path.request)
	}
}
