package core

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

func TestHowMuchIsHeldOfAStreamDependsOnWhatItIs(t *testing.T) {
	for want, cases := range map[int64][][]string{
		spoolUnknown: {{}, {"content-type", "text/plain"}, {"x-accel-buffering", "yes"}, {"content-type", "text/event-stream-of-mine"}},
		spoolFile:    {{"Content-Length", "5"}, {"content-length", "5", "content-type", "text/csv"}},
		0: {{"content-type", "text/event-stream"}, {"Content-Type", "Text/Event-Stream; charset=utf-8"}, {"X-Accel-Buffering", "no"},
			{"content-type", "multipart/x-mixed-replace; boundary=x"}, {"content-length", "5", "x-accel-buffering", "No"}},
	} {
		for _, fields := range cases {
			var headers link.Headers
			for i := 0; i < len(fields); i += 2 {
				headers = link.AppendHeader(headers, fields[i], fields[i+1])
			}
			if got := streamSpoolLimits("/tmp", headers); got.File != want || got.Memory != spoolMemory || got.Dir != "/tmp" {
				t.Errorf("%v: %+v instead of %d", fields, got, want)
			}
		}
	}
}

// hinting answers with an interim response before the response, and tells
// whether the message allows it.
func hinting(allowed chan<- bool) func(message []byte, id uint64) []byte {
	return func(message []byte, id uint64) []byte {
		const flagInterim = 4
		allowed <- message[2]&flagInterim != 0
		f := link.AppendFrame(nil, link.FrameInterim, 103, id, link.HeadPayload(link.AppendHeader(nil, "link", "</a.css>"), nil))
		return append(f, link.AppendFrame(nil, link.FrameComplete, 200, id, link.HeadPayload(nil, []byte("hello")))...)
	}
}

// newHinter serves an app that gives early hints, with the option on or off.
func newHinter(t testing.TB, on bool) (r *rig, allowed chan bool) {
	allowed = make(chan bool, 8)
	r = newRig(t, hinting(allowed))
	r.engine.options.EarlyHints = on
	r.behind(func(next httpd.Handler) httpd.Handler { return next })
	return r, allowed
}

func TestInterimResponsesAreForThoseWhoTakeThem(t *testing.T) {
	const hint, final = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n", "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		on      bool
		request string
		want    []bool // of each request
	}{
		"wanted":          {true, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []bool{true}},
		"not wanted":      {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []bool{false}},
		"HTTP/1.0":        {true, "GET / HTTP/1.0\r\nHost: a\r\n\r\n", []bool{false}},
		"sent ahead":      {true, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", []bool{true, false}},
		"behind a blank":  {true, "\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []bool{true}},
		"head of nothing": {true, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []bool{true}},
	} {
		r, allowed := newHinter(t, c.on)
		conn := r.dial()
		io.WriteString(conn, c.request)
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		rest := string(all)
		for _, want := range c.want {
			if got := <-allowed; got != want {
				t.Errorf("%s: the worker is told %v", name, got)
			}
			before, after, _ := strings.Cut(rest, final)
			if (before == hint) != want && !strings.HasSuffix(before, "hello") {
				t.Errorf("%s: %q before the response", name, before)
			}
			rest = after
		}
		if n := strings.Count(string(all), hint); n != 1 && c.want[0] || n != 0 && !c.want[0] {
			t.Errorf("%s: %d hints in %q", name, n, all)
		}
		conn.Close()
	}
}

func TestAClientUnderstandsInterimResponses(t *testing.T) {
	r, allowed := newHinter(t, true)
	client := &http.Client{Transport: &http.Transport{}}
	for range 3 { // on one connection
		response, err := client.Get("http://" + r.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 || string(body) != "hello" || !<-allowed {
			t.Errorf("%d %q %v", response.StatusCode, body, err)
		}
	}
	client.CloseIdleConnections()
}
