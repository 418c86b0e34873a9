package core

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
	"passenger/go/internal/static"
)

var (
	headerContentLength = []byte("content-length")
	headerDate          = []byte("date")
	headerTrailer       = []byte("trailer")
)

// noLength says that the app has not announced the length of its body.
const noLength = -1

// respond sends the worker's response to the client. The call may be reused
// when it returns: what is sent later is out of its hands by then.
func (e *Engine) respond(x *httpd.Exchange, c *dispatch.Call) error {
	if c.Kind == link.FrameHijack {
		return e.respondHijacked(x, c)
	}
	if c.Status < http.StatusOK {
		c.Close()
		return fmt.Errorf("the application gave the interim status %d as its response", c.Status)
	}
	x.Ctx.SetStatusCode(c.Status)
	declared, named, err := copyHeaders(x, c.Headers)
	if err != nil {
		c.Close()
		return err
	}
	if named.header != nil {
		return e.sendNamed(x, c, named)
	}
	bodiless := string(x.Method) == http.MethodHead || c.Status == http.StatusNoContent || c.Status == http.StatusNotModified
	switch c.Kind {
	case link.FrameComplete:
		return respondComplete(x, c, declared, bodiless)
	case link.FrameFile:
		file, err := static.Regular(c.File)
		c.File = nil
		if err != nil {
			return fmt.Errorf("the file that the application gave as its body: %w", err)
		}
		static.Send(x, file)
	case link.FrameOffer:
		if declared != noLength && declared != c.Length {
			defer c.Close()
			return lengthMismatch(declared, c.Length)
		}
		x.Ctx.Response.ImmediateHeaderFlush = true
		x.Ctx.Response.SetBodyStream(&offeredBody{streamBody{c.Stream, e.log, requestReference(x, c.ID)}, c.Offer, x.Conn, c.Length}, int(c.Length))
	default:
		return e.respondStream(x, c, declared, bodiless)
	}
	return nil
}

// copyHeaders hands the app's headers to fasthttp and returns the announced
// length of the body, and the file that is to be sent in its stead. The Date is
// always the engine's: fasthttp takes none.
func copyHeaders(x *httpd.Exchange, headers link.Headers) (declared int64, named handedOver, err error) {
	h := &x.Ctx.Response.Header
	declared = noLength
	for {
		name, value, rest, ok := headers.Next()
		if !ok {
			return declared, named, nil
		}
		headers = rest
		switch len(name) {
		case len(headerContentLength):
			if bytes.EqualFold(name, headerContentLength) {
				n, err := strconv.ParseInt(string(value), 10, 64)
				if err != nil || n < 0 {
					return 0, named, fmt.Errorf("the application gave the Content-Length %q", value)
				}
				declared = n
				continue
			}
		case len(headerDate):
			if bytes.EqualFold(name, headerDate) {
				continue
			}
		case len(headerTrailer):
			if bytes.EqualFold(name, headerTrailer) {
				continue
			}
		case len(headerXSendfile):
			if bytes.EqualFold(name, headerXSendfile) {
				named = handedOver{headerXSendfile, string(value)}
				continue
			}
		case len(headerXAccelRedirect):
			if bytes.EqualFold(name, headerXAccelRedirect) {
				named = handedOver{headerXAccelRedirect, string(value)}
				continue
			}
		}
		h.AddBytesKV(name, value)
	}
}

func lengthMismatch(declared, actual int64) error {
	return fmt.Errorf("the application announced a body of %d bytes (Content-Length) and gave %d", declared, actual)
}

func respondComplete(x *httpd.Exchange, c *dispatch.Call, declared int64, bodiless bool) error {
	if bodiless {
		if declared != noLength {
			x.Ctx.Response.Header.SetContentLength(int(declared))
		}
		return nil
	}
	if declared != noLength && declared != int64(len(c.Body)) {
		return lengthMismatch(declared, int64(len(c.Body)))
	}
	// The response takes the buffer and leaves its old one: no copy.
	c.Body = x.Ctx.Response.SwapBody(c.Body)
	return nil
}

// respondStream sends a body of which the rest is still to come.
func (e *Engine) respondStream(x *httpd.Exchange, c *dispatch.Call, declared int64, bodiless bool) error {
	if bodiless {
		c.Close()
		if declared != noLength {
			x.Ctx.Response.Header.SetContentLength(int(declared))
		}
		return nil
	}
	body := &streamBody{c.Stream, e.log, requestReference(x, c.ID)}
	if declared != noLength || x.HTTP11 {
		x.Ctx.Response.ImmediateHeaderFlush = true
		x.Ctx.Response.SetBodyStream(body, int(declared))
		return nil
	}
	// HTTP/1.0 has no chunks: the end of the connection is the end of the body.
	x.Ctx.Response.Header.SetContentLength(-2)
	head := bytes.Clone(x.Ctx.Response.Header.Header())
	return x.TakeOver(func(conn *httpd.Conn, _ []byte) {
		defer conn.Close()
		defer body.Close()
		if _, err := conn.Write(head); err != nil {
			return
		}
		// A copy that fails has nobody to tell: the connection is closed either way.
		_, _ = io.Copy(conn, body)
	}, func() { body.Close() })
}
