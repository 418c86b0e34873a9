package httpd

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/link"
)

func TestADetachedRequestIsACopyThatReachesNoClient(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	conn := &Conn{Conn: server, raw: &rawIO{conn: nowhere{}}, owner: &connections{}, remoteAddr: "192.0.2.1", remotePort: "5", localAddr: "192.0.2.2", localPort: "80"}
	head := "GET /a?b HTTP/1.0\r\nHost: a:81\r\nX-A: 1\r\nCache-Control: no-cache\r\nCookie: c=1\r\nX-A: 2\r\nCookie: d=2\r\ncache-control: x\r\nX-A: 3\r\n\r\n"
	ctx := new(fasthttp.RequestCtx)
	ctx.Init2(conn, nil, false)
	ctx.Request.Header.DisableNormalizing()
	if err := ctx.Request.Header.Read(bufio.NewReader(strings.NewReader(head))); err != nil {
		t.Fatal(err)
	}
	x := new(Exchange)
	if err := x.parse(ctx, conn); err != nil {
		t.Fatal(err)
	}
	x.HTTPS = true
	d, err := x.Detached(link.KeyHTTPCacheControl)
	if err != nil {
		t.Fatal(err)
	}
	ctx.Request.Reset()
	for i := range x.Fields {
		clear(x.Fields[i].Value)
	}
	if string(d.Method) != "GET" || string(d.Target) != "/a?b" || string(d.Path) != "/a" || string(d.Host) != "a:81" || d.Server != "a" || d.Port != "81" || !d.HTTPS || !d.HTTP11 || string(d.Protocol) != "HTTP/1.1" {
		t.Errorf("%+v", d)
	}
	var fields []string
	for i := range d.Fields {
		if d.Fields[i].Joined {
			continue
		}
		line := d.Fields[i].Key.String() + string(d.Fields[i].Name)
		for j := i; ; j = d.Fields[j].Next {
			line += " " + string(d.Fields[j].Value)
			if d.Fields[j].Next == 0 {
				break
			}
		}
		fields = append(fields, line)
	}
	if got := strings.Join(fields, ", "); got != "HTTP_X_A 1 2 3, HTTP_COOKIE c=1 d=2" {
		t.Error(got)
	}
	if d.Conn.RemoteHost() != "192.0.2.1" || d.Conn.RemotePort() != "5" || d.HasBody() {
		t.Errorf("%s:%s, body: %v", d.Conn.RemoteHost(), d.Conn.RemotePort(), d.HasBody())
	}
	if d.Conn.Client() != nil {
		t.Error("there is a client to look at")
	}
	_, write := d.Conn.Write([]byte("x"))
	_, read := d.Conn.Read(make([]byte, 1))
	_, copied := d.Conn.ReadFrom(bytes.NewReader([]byte("x")))
	raw, err := d.Conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	lent := raw.Control(func(uintptr) { t.Error("there is a socket") })
	for _, err := range []error{write, read, copied, lent, d.Ctx.EarlyHints()} {
		if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
	if write == nil || read == nil || copied == nil || lent == nil {
		t.Errorf("write %v, read %v, copy %v, socket %v", write, read, copied, lent)
	}
	if err := d.Conn.Close(); err != nil {
		t.Error(err)
	}
}
