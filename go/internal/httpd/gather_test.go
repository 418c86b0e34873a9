package httpd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// startServer serves handler on a port of its own until the end of the test.
func startServer(t testing.TB, handler Handler) string {
	t.Helper()
	s := NewServer(handler, func(ctx *fasthttp.RequestCtx, status int, reason string) { ctx.Error(reason, status) }, slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// Bodies around every size at which they are sent another way, with heads that
// fit into the write buffer and such that do not, several to a packet.
func TestPipelinedResponsesOfAllSizesArriveWholeAndInOrder(t *testing.T) {
	sizes := []int{0, 1, gatherMin - 1, gatherMin, gatherMin + 1, writeBuffer - 1, writeBuffer, writeBuffer + 1, rawIOMax - 1, rawIOMax, rawIOMax + 1, 300_000}
	heads := []int{0, 900, 1100, writeBuffer - 200, writeBuffer, writeBuffer + 100, 3 * writeBuffer}
	shared := bytes.Repeat([]byte("shared body "), 30_000)
	addr := startServer(t, func(x *Exchange) {
		var size, head, owned int
		if _, err := fmt.Sscanf(string(x.Path), "/%d/%d/%d", &size, &head, &owned); err != nil {
			t.Error(err)
		}
		if head > 0 {
			x.Ctx.Response.Header.Set("X-Long", strings.Repeat("h", head))
		}
		if owned == 1 {
			x.Ctx.Response.SwapBody(bytes.Repeat([]byte{byte('a' + size%26)}, size))
		} else {
			x.Ctx.Response.SetBodyRaw(shared[:size])
		}
	})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	var requests bytes.Buffer
	type expectation struct {
		method            string
		size, head, owned int
	}
	var expected []expectation
	for round := range 2 {
		for _, size := range sizes {
			for _, head := range heads {
				for owned := range 2 {
					method := http.MethodGet
					if round == 1 && size%2 == 0 {
						method = http.MethodHead
					}
					expected = append(expected, expectation{method, size, head, owned})
					fmt.Fprintf(&requests, "%s /%d/%d/%d HTTP/1.1\r\nHost: h\r\n\r\n", method, size, head, owned)
				}
			}
		}
	}
	go c.Write(requests.Bytes())
	r := bufio.NewReader(c)
	for _, e := range expected {
		response, err := http.ReadResponse(r, &http.Request{Method: e.method})
		if err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		want := shared[:e.size]
		if e.owned == 1 {
			want = bytes.Repeat([]byte{byte('a' + e.size%26)}, e.size)
		}
		if e.method == http.MethodHead {
			want = nil
		}
		if !bytes.Equal(body, want) || len(response.Header.Get("X-Long")) != e.head || int(response.ContentLength) != e.size && e.size > 0 {
			t.Fatalf("%+v: %d bytes, Content-Length %d, header of %d", e, len(body), response.ContentLength, len(response.Header.Get("X-Long")))
		}
	}
}
