package compress

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

func TestResponsesAreCompressedForWhoAcceptsIt(t *testing.T) {
	body := page(30_000)
	addr := serve(t, newStep(options), complete(body, "ETag: \"abc\"", "X-Other: kept"))
	for accept, want := range map[string]string{
		"":                                "",
		"Accept-Encoding: gzip":           "gzip",
		"Accept-Encoding: gzip, br":       "br",
		"Accept-Encoding: zstd, gzip":     "gzip",
		"Accept-Encoding: zstd":           "",
		"Accept-Encoding: gzip;q=0":       "",
		"accept-encoding: x-gzip":         "gzip",
		"Accept-Encoding: identity;q=0":   "",
		"Accept-Encoding: br;q=0.1, gzip": "gzip",
	} {
		response := ask(t, addr, "GET / HTTP/1.1", accept)
		length := response.ContentLength
		got := response.Header.Get("Content-Encoding")
		if text := decoded(t, response); text != body {
			t.Errorf("%q: %d bytes instead of %d", accept, len(text), len(body))
		}
		etag := `"abc"`
		if want != "" {
			etag = `W/"abc"`
		}
		if h := response.Header; got != want || h.Get("Vary") != "Accept-Encoding" || h.Get("Etag") != etag || h.Get("X-Other") != "kept" || length <= 0 || (want == "") != (length == int64(len(body))) {
			t.Errorf("%q: length %d, headers %v", accept, length, h)
		}
	}
}

func TestSeveralAcceptEncodingFieldsCountAsOne(t *testing.T) {
	addr := serve(t, newStep(options), complete(page(5000)))
	if got := ask(t, addr, "GET / HTTP/1.1", "Accept-Encoding: deflate", "Accept-Encoding: gzip").Header.Get("Content-Encoding"); got != "gzip" {
		t.Errorf("coding %q", got)
	}
}

func TestHTTP10ClientsGetWholeBodiesCompressed(t *testing.T) {
	body := page(5000)
	addr := serve(t, newStep(options), complete(body))
	response := ask(t, addr, "GET / HTTP/1.0", "Accept-Encoding: gzip")
	if response.Header.Get("Content-Encoding") != "gzip" || decoded(t, response) != body {
		t.Errorf("headers %v", response.Header)
	}
}

func TestGosOwnClientUnderstands(t *testing.T) {
	body := page(50_000)
	addr := serve(t, newStep(options), stream(ended(body[:100], body[100:20_000], body[20_000:]), -1))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || string(got) != body || !response.Uncompressed {
		t.Errorf("%d bytes, %v, was compressed: %v", len(got), err, response.Uncompressed)
	}
}

// TestExclusions: what is left as it is, and whether its Vary says that it might
// have been otherwise.
func TestExclusions(t *testing.T) {
	big := page(5000)
	status := func(status int, app httpd.Handler) httpd.Handler {
		return func(x *httpd.Exchange) {
			app(x)
			x.Ctx.SetStatusCode(status)
		}
	}
	const both = "Accept-Encoding: br, gzip"
	for name, one := range map[string]struct {
		app     httpd.Handler
		request string
		vary    bool
		headers []string
	}{
		"a small body":                      {app: complete(big[:999])},
		"no body":                           {app: complete("")},
		"a type that does not shrink":       {app: complete(big, "Content-Type: image/png")},
		"no type":                           {app: func(x *httpd.Exchange) { x.Ctx.Response.SetBodyString(big) }},
		"an event stream":                   {app: stream(ended(big), -1, "content-type: text/event-stream; charset=utf-8")},
		"encoded by the app":                {app: complete(big, "content-encoding: deflate")},
		"no-transform":                      {app: complete(big, "Cache-Control: no-transform")},
		"no-transform in a list":            {app: complete(big, "cache-control: public,No-Transform , max-age=5")},
		"no-transform in the second line":   {app: complete(big, "Cache-Control: public", "Cache-Control: no-transform")},
		"a part":                            {app: status(206, complete(big, "Content-Range: bytes 0-1/2"))},
		"a part without the status":         {app: complete(big, "content-range: bytes 0-1/2")},
		"the status of a part":              {app: status(206, complete(big))},
		"no content":                        {app: status(204, complete(big))},
		"reset content":                     {app: status(205, complete(big))},
		"not modified":                      {app: status(304, complete(big))},
		"a checksum: Content-MD5":           {app: complete(big, "Content-MD5: x")},
		"a checksum: Digest":                {app: complete(big, "digest: sha-256=x")},
		"a checksum: Content-Digest":        {app: complete(big, "Content-Digest: sha-256=:x:")},
		"a checksum: Repr-Digest":           {app: complete(big, "Repr-Digest: sha-256=:x:")},
		"a small stream":                    {app: stream(ended("tiny"), 4)},
		"a stream that is encoded":          {app: stream(ended(big), -1, "Content-Encoding: gzip2")},
		"a file over the limit":             {app: stream(fileSource{ended(strings.Repeat(big, maxFile/5000+1))}, len(big)*(maxFile/5000+1))},
		"HEAD, small":                       {app: complete("", "Content-Length: 10"), request: "HEAD / HTTP/1.1"},
		"HEAD":                              {app: complete("", "Content-Length: 5000"), request: "HEAD / HTTP/1.1", vary: true},
		"HEAD without a length":             {app: complete(""), request: "HEAD / HTTP/1.1", vary: true},
		"a stream for HTTP/1.0":             {app: stream(ended(big), len(big)), request: "GET / HTTP/1.0", vary: true},
		"a stream that stays where it is":   {app: stream(strings.NewReader(big), -1), vary: true},
		"a file of which a range is wanted": {app: stream(fileSource{ended(big)}, len(big), "Accept-Ranges: bytes"), vary: true, headers: []string{"Range: bytes=0-"}},
		"what does not shrink":              {app: complete(noise(5000), "Content-Type: text/plain"), vary: true},
		"a client that wants it as it is":   {app: complete(big), vary: true, headers: []string{"Accept-Encoding: br;q=0, gzip;q=0"}},
		"a stream for such a client":        {app: stream(ended(big), -1), vary: true, headers: []string{"Accept-Encoding: gzip;q=0, br;q=0"}},
	} {
		if one.request == "" {
			one.request = "GET / HTTP/1.1"
		}
		response := ask(t, serve(t, newStep(options), one.app), one.request, append([]string{both}, one.headers...)...)
		vary := ""
		if one.vary {
			vary = "Accept-Encoding"
		}
		if got := response.Header.Get("Vary"); got != vary {
			t.Errorf("%s: Vary %q", name, got)
		}
		if coding := response.Header.Get("Content-Encoding"); coding == "br" || coding == "gzip" {
			t.Errorf("%s: %s", name, coding)
		}
		if strings.HasPrefix(one.request, "HEAD") && len(response.Header["Content-Length"]) > 0 && response.ContentLength < 10 {
			t.Errorf("%s: the length has become %d", name, response.ContentLength)
		}
	}
}

func TestWhatIsCompressedInSpiteOfItsHeaders(t *testing.T) {
	body := page(5000)
	for name, app := range map[string]httpd.Handler{
		"the coding identity":       complete(body, "Content-Encoding: Identity"),
		"other cache directives":    complete(body, "Cache-Control: private, max-age=0, no-transformations"),
		"an error page":             func(x *httpd.Exchange) { complete(body)(x); x.Ctx.SetStatusCode(500) },
		"exactly the least size":    complete(body[:1000]),
		"a body shared with others": func(x *httpd.Exchange) { set(x); x.Ctx.Response.SetBodyRaw([]byte(body)) },
	} {
		response := ask(t, serve(t, newStep(options), app), "GET / HTTP/1.1", "Accept-Encoding: br")
		if got := response.Header["Content-Encoding"]; len(got) != 1 || got[0] != "br" {
			t.Errorf("%s: %v", name, response.Header)
		}
		if text := decoded(t, response); !strings.HasPrefix(body, text) || len(text) < 1000 {
			t.Errorf("%s: %d bytes", name, len(text))
		}
	}
}

func TestTheEntityTagBecomesWeak(t *testing.T) {
	for header, want := range map[string]string{
		`ETag: "a"`: `W/"a"`, `etag: "a"`: `W/"a"`, `ETAG:  "a"`: `W/"a"`, `ETag: W/"a"`: `W/"a"`, `X-Tag: "a"`: "",
	} {
		response := ask(t, serve(t, newStep(options), complete(page(2000), header)), "GET / HTTP/1.1", "Accept-Encoding: gzip")
		if got := response.Header["Etag"]; len(got) > 1 || response.Header.Get("Etag") != want {
			t.Errorf("%s: %q", header, got)
		}
	}
}

func TestVaryIsMerged(t *testing.T) {
	for want, headers := range map[string][]string{
		"Accept-Encoding":                         nil,
		"Accept, Accept-Encoding":                 {"Vary: Accept"},
		"Cookie, Accept-Encoding":                 {"vary: Cookie"},
		"Accept, Origin, Cookie, Accept-Encoding": {"Vary: Accept, Origin", "VARY: Cookie"},
		"accept-encoding":                         {"Vary: accept-encoding"},
		"Accept , Accept-Encoding":                {"vary: Accept , Accept-Encoding"},
		"*":                                       {"Vary: *"},
		"Accept|Accept-Encoding":                  {"Vary: Accept", "vary: Accept-Encoding"},
		"Accept|*":                                {"Vary: Accept", "Vary: *"},
		"X-Accept-Encoding, Accept-Encoding":      {"Vary: X-Accept-Encoding"},
		"Cookie, Accept-Encoding ":                {"Vary: ", "Vary: Cookie"},
		strings.Repeat("long-name, ", 50) + "x, Accept-Encoding": {"Vary: " + strings.Repeat("long-name, ", 50) + "x"},
	} {
		var h fasthttp.ResponseHeader
		h.DisableNormalizing()
		for _, header := range headers {
			name, value, _ := strings.Cut(header, ": ")
			h.Add(name, value)
		}
		for range 2 { // the second time changes nothing
			AddVary(&h)
			var lines []string
			for name, value := range h.All() {
				if strings.EqualFold(string(name), "Vary") {
					lines = append(lines, string(value))
				}
			}
			if got := strings.Join(lines, "|"); got != strings.TrimSpace(want) {
				t.Errorf("%q: %q instead of %q", headers, got, want)
			}
		}
	}
}

// memo keeps what the step makes of one kept body.
type memo struct {
	mu    sync.Mutex
	forms map[string][]byte
	saved int
}

func (m *memo) Load(coding string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.forms[coding]
}

func (m *memo) Save(coding string, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forms[coding] = body
	m.saved++
}

func TestAKeptBodyIsCompressedOncePerCoding(t *testing.T) {
	for name, body := range map[string]string{"page": page(5000), "noise": noise(5000)} {
		kept := []byte(body)
		m := &memo{forms: map[string][]byte{}}
		addr := serve(t, newStep(options), func(x *httpd.Exchange) {
			set(x)
			x.Ctx.Response.SetBodyRaw(kept)
			x.Memo = m
		})
		for range 3 {
			for _, accept := range []string{"br", "gzip", "identity"} {
				response := ask(t, addr, "GET / HTTP/1.1", "Accept-Encoding: "+accept)
				if compressed := response.Header.Get("Content-Encoding") == accept; compressed != (name == "page" && accept != "identity") {
					t.Errorf("%s for %s: %v", name, accept, response.Header)
				}
				if decoded(t, response) != body || string(kept) != body {
					t.Errorf("%s for %s: another body", name, accept)
				}
			}
		}
		m.mu.Lock()
		if m.saved != 2 {
			t.Errorf("%s: compressed %d times", name, m.saved)
		}
		m.mu.Unlock()
	}
}

func TestAWrongLevelLeavesTheBodyAsItIs(t *testing.T) {
	body := page(5000)
	for name, app := range map[string]httpd.Handler{"body": complete(body), "stream": stream(ended(body), -1)} {
		o := options
		o.Levels = Levels{Gzip: 5, Brotli: 12}
		var log journal
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		s := newStep(o)
		response := ask(t, serve(t, s, app), "GET / HTTP/1.1", "Accept-Encoding: br")
		if decoded(t, response) != body || response.Header.Get("Content-Encoding") != "" || !strings.Contains(log.String(), "brotli level 12") || s.streams.Load() != 0 {
			t.Errorf("%s: headers %v, log %s", name, response.Header, log.String())
		}
	}
}

// exchanges returns a function that runs the step without a server.
func exchanges(s *step, accept string, app httpd.Handler) (*httpd.Exchange, func()) {
	x := &httpd.Exchange{Ctx: &fasthttp.RequestCtx{}, HTTP11: true}
	x.Ctx.Response.Header.DisableNormalizing()
	if accept != "" {
		x.Fields = append(x.Fields, httpd.Field{Key: link.KeyHTTPAcceptEncoding, Value: []byte(accept)})
	}
	handler := s.handler(app)
	return x, func() {
		x.Ctx.Response.Header.Reset()
		handler(x)
	}
}

// rawBody answers without allocating.
func rawBody(contentType, body string) httpd.Handler {
	b, vary, cookie := []byte(body), []byte("vary"), []byte("Cookie")
	return func(x *httpd.Exchange) {
		x.Ctx.Response.Header.SetContentType(contentType)
		x.Ctx.Response.Header.AddBytesKV(vary, cookie)
		x.Ctx.Response.SetBodyRaw(b)
	}
}

func TestNothingIsAllocatedWhenNothingIsCompressed(t *testing.T) {
	for name, one := range map[string]struct{ accept, contentType, body string }{
		"a small body":                {"gzip, br", "text/html; charset=utf-8", "hello world\n"},
		"a type that does not shrink": {"gzip, br", "image/png", page(30_000)},
		"no Accept-Encoding":          {"", "text/html; charset=utf-8", page(30_000)},
		"a client that refuses":       {"gzip;q=0, identity", "application/json", page(30_000)},
	} {
		_, exchange := exchanges(newStep(options), one.accept, rawBody(one.contentType, one.body))
		exchange() // the header's own buffers
		if n := testing.AllocsPerRun(1000, exchange); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	for _, one := range []struct{ name, accept, body string }{
		{"small", "gzip, deflate, br, zstd", "hello world\n"},
		{"30KB_not_accepted", "", page(30_000)},
		{"30KB_gzip", "gzip", page(30_000)},
		{"30KB_br", "gzip, deflate, br, zstd", page(30_000)},
	} {
		b.Run(one.name, func(b *testing.B) {
			_, exchange := exchanges(newStep(options), one.accept, rawBody("text/html; charset=utf-8", one.body))
			b.ReportAllocs()
			for b.Loop() {
				exchange()
			}
		})
	}
	b.Run("the_same_without", func(b *testing.B) {
		x, _ := exchanges(newStep(options), "", nil)
		app := rawBody("text/html; charset=utf-8", "hello world\n")
		for b.Loop() {
			x.Ctx.Response.Header.Reset()
			app(x)
		}
	})
}
