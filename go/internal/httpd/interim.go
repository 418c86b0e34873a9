package httpd

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/link"
)

// TakesInterim reports whether an interim response (RFC 9110 §15.2) may be sent
// before the response: HTTP/1.0 has none, and behind requests that the client has
// sent ahead the server may still hold back the responses to the earlier ones.
func (x *Exchange) TakesInterim() bool {
	_, nobody := x.Conn.Conn.(nobody)
	return x.HTTP11 && x.Conn.settled && !nobody
}

// SendInterim sends an interim response. It is called by the handler, before it
// returns.
func (x *Exchange) SendInterim(status int, headers link.Headers) error {
	b := append([]byte("HTTP/1.1 "), strconv.Itoa(status)...)
	b = append(append(append(b, ' '), fasthttp.StatusMessage(status)...), "\r\n"...)
	for {
		name, value, rest, ok := headers.Next()
		if !ok {
			break
		}
		headers = rest
		if bytes.ContainsAny(name, "\r\n\x00: ") || bytes.ContainsAny(value, "\r\n\x00") {
			return fmt.Errorf("the application gave the header %q: %q, which would be read as something else", name, value)
		}
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	}
	_, err := x.Conn.Write(append(b, "\r\n"...))
	return err
}

// settle notes, at the end of a request, whether the server has used up all that
// it has been given: then it sends the response before it looks for the next
// request. A chunked body does not tell how long it was.
func (c *Conn) settle(x *Exchange) {
	if x.chunked {
		c.ahead += 1 << 40
	}
	h := &x.Ctx.Request.Header
	c.ahead -= int64(x.headLength() + max(h.ContentLength(), 0))
	c.settled = c.ahead == 0
}

// headLength is the length of the request's head.
func (x *Exchange) headLength() int {
	h := &x.Ctx.Request.Header
	return len(x.Method) + len(h.RequestURI()) + len(x.Protocol) + len("  \r\n") + len(h.RawHeaders())
}
