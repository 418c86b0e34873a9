package static

import (
	"net/http"
	"testing"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// request is one that is made again and again without a connection.
type request struct {
	ctx     fasthttp.RequestCtx
	x       httpd.Exchange
	handler httpd.Handler
	missed  int
}

func newRequest(f *Files, path string, fields ...httpd.Field) *request {
	q := &request{}
	q.ctx.Response.Header.SetNoDefaultContentType(true)
	q.handler = f.Handler(func(*httpd.Exchange) { q.missed++ })
	q.x = httpd.Exchange{Ctx: &q.ctx, Method: []byte(http.MethodGet), Path: []byte(path), Fields: fields}
	q.make()
	return q
}

func (q *request) make() {
	q.ctx.Response.Reset()
	q.handler(&q.x)
}

// hot are requests whose answers are in memory, and one for which there is none.
func hot(t testing.TB) map[string]func() *request {
	r := newRig(t, nil)
	r.write("a.css", text(5000))
	r.write("twin.css", text(5000))
	r.write("twin.css.br", text(2000))
	r.write("assets/a-0123abcd.js", text(5000))
	r.writeTo(r.pages+"/page.html", text(5000))
	etag := []byte(r.get("/a.css").Header.Get("ETag"))
	value := func(key link.EnvKey, value string) httpd.Field { return httpd.Field{Key: key, Value: []byte(value)} }
	browser := value(link.KeyHTTPAcceptEncoding, "gzip, deflate, br, zstd")
	check := func(path string, status, missed int, fields ...httpd.Field) func() *request {
		return func() *request {
			q := newRequest(r.files, path, fields...)
			q.make()
			if q.ctx.Response.StatusCode() != status || min(q.missed, 1) != missed {
				t.Fatalf("%s: status %d, %d missed", path, q.ctx.Response.StatusCode(), q.missed)
			}
			return q
		}
	}
	return map[string]func() *request{
		"a file":                    check("/a.css", 200, 0),
		"an encoded file":           check("/a.css", 200, 0, browser),
		"a twin":                    check("/twin.css", 200, 0, browser),
		"an asset":                  check("/assets/a-0123abcd.js", 200, 0, browser),
		"a page":                    check("/page", 200, 0, browser),
		"no news, by tag":           check("/a.css", 304, 0, browser, httpd.Field{Key: link.KeyHTTPIfNoneMatch, Value: etag}),
		"no news, by date":          check("/a.css", 304, 0, browser, value(link.KeyHTTPIfModifiedSince, date)),
		"no file":                   check("/posts/1", 200, 1, browser),
		"no file below the app's":   check("/blog/posts/1", 200, 1, browser),
		"a path that names no file": check("/posts/../1", 200, 1, browser),
	}
}

func TestHotFilesAndMissesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for what, start := range hot(t) {
		q := start()
		if n := testing.AllocsPerRun(2000, q.make); n != 0 {
			t.Errorf("%s takes %v allocations", what, n)
		}
	}
}

func benchmark(b *testing.B, what string) {
	q := hot(b)[what]()
	b.ReportAllocs()
	for b.Loop() {
		q.make()
	}
}

func BenchmarkMiss(b *testing.B)       { benchmark(b, "no file") }
func BenchmarkHotFile(b *testing.B)    { benchmark(b, "a file") }
func BenchmarkHotEncoded(b *testing.B) { benchmark(b, "an encoded file") }
func BenchmarkTwin(b *testing.B)       { benchmark(b, "a twin") }
func BenchmarkPage(b *testing.B)       { benchmark(b, "a page") }
func Benchmark304(b *testing.B)        { benchmark(b, "no news, by tag") }

// What a request costs whose file is not kept.
func BenchmarkColdFile(b *testing.B) {
	r := newRig(b, func(o *Options) { o.CacheSize = 0 })
	r.write("a.txt", text(5000))
	q := newRequest(r.files, "/a.txt")
	b.ReportAllocs()
	for b.Loop() {
		q.make()
	}
}
