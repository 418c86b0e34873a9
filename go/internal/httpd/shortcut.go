package httpd

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/link"
)

// Shortcut answers a request at once, if it can be answered from memory: it
// appends the head of the response to head and gives the body, which must not
// change any more. date is the value of the Date field. Of x it may use Method,
// Path and Query, and the fields when Complete has reported true.
//
// What a shortcut does not answer goes the usual way and is answered there in
// the same manner; so it may be left out, but for the time it saves. A request for
// a small file costs little more than its system calls then.
type Shortcut func(x *Exchange, date, head []byte) (_, body []byte, ok bool)

// request line parts that a shortcut knows.
var (
	endOfLine     = []byte("\r\n")
	endOfHead     = []byte("\r\n\r\n")
	protocolHTTP  = []byte(" HTTP/1.1")
	prefixGET     = []byte("GET /")
	prefixHEAD    = []byte("HEAD /")
	keepAliveWord = "keep-alive"
)

// cut answers the request that data is, if it is a whole one, without a body,
// and a shortcut knows the answer.
func (c *Conn) cut(data []byte) (answered bool, err error) {
	owner := c.owner
	if owner.ending.Load() {
		return false, nil
	}
	x := owner.exchanges.Get().(*Exchange)
	defer owner.exchanges.Put(x)
	if !x.begin(data, c) {
		return false, nil
	}
	now := time.Now()
	head, body, ok := owner.shortcut(x, c.date(now), c.head[:0])
	x.Conn, x.rest = nil, nil
	if !ok {
		return false, nil
	}
	c.head = head
	if err := c.extendWriteAt(now); err != nil {
		return false, err
	}
	c.cutting.Store(true)
	if len(body) == 0 {
		_, err = c.raw.write(head)
	} else {
		_, err = c.writeBoth(head, body)
	}
	c.cutting.Store(false)
	switch {
	case err != nil:
		return false, err
	case c.closeAfter.Load() || owner.ending.Load():
		return false, io.EOF
	}
	c.answered = true
	return true, c.SetReadDeadline(now.Add(idleTimeout))
}

// begin takes the request line apart; false for anything out of the ordinary.
func (x *Exchange) begin(data []byte, conn *Conn) bool {
	if !bytes.HasPrefix(data, prefixGET) && !bytes.HasPrefix(data, prefixHEAD) {
		return false
	}
	end := bytes.Index(data, endOfLine)
	if end < 0 || !bytes.HasSuffix(data[:end], protocolHTTP) {
		return false
	}
	space := bytes.IndexByte(data, ' ')
	x.Method, x.Target = data[:space], data[space+1:end-len(protocolHTTP)]
	for _, c := range x.Target {
		if c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	x.Path, x.Query, _ = bytes.Cut(x.Target, []byte{'?'})
	x.Ctx, x.Conn, x.rest = nil, conn, data[end+len(endOfLine):]
	return true
}

// Complete parses the header fields of a request that a shortcut is to answer.
// False: the request must go the usual way.
func (x *Exchange) Complete() bool {
	if bytes.Index(x.rest, endOfHead)+len(endOfHead) != len(x.rest) {
		return false
	}
	x.Host, x.ContentType, x.Memo = nil, nil, nil
	x.HTTPS, x.HTTP11, x.chunked, x.sized = false, true, false, false
	x.Fields, x.names = x.Fields[:0], x.names[:0]
	if x.parseFields(x.rest) != nil || x.parseHost() != nil || x.chunked || x.sized {
		return false
	}
	for i := range x.Fields {
		switch f := &x.Fields[i]; f.Key {
		case link.KeyHTTPConnection:
			if !equalFold(f.Value, keepAliveWord) {
				return false
			}
		case link.KeyHTTPUpgrade, link.KeyHTTPExpect:
			return false
		}
	}
	return true
}

// date is the value of the Date field, made anew once a second.
func (c *Conn) date(now time.Time) []byte {
	if second := now.Unix(); second != c.dateSecond {
		c.dateSecond = second
		c.dateText = fasthttp.AppendHTTPDate(c.dateText[:0], now)
	}
	return c.dateText
}

// fresh says whether what comes next is the beginning of a request: the server
// has nothing left of what it has been given.
func (x *Exchange) fresh() bool {
	return !x.chunked && !x.sized && x.Conn.given == x.headLength() && !x.Ctx.Hijacked() &&
		string(x.Method) != http.MethodPost && string(x.Method) != http.MethodPut && string(x.Method) != http.MethodPatch
}
