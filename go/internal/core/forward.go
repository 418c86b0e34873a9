package core

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strconv"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
	"passenger/go/internal/spool"
)

// inlineBody is the largest request body that travels within the request
// message, in bytes. Larger ones go as a file.
const inlineBody = 32 << 10

// forward has a worker answer the request.
func (e *Engine) forward(x *httpd.Exchange) {
	if e.supervisor.everNew.Load() {
		e.supervisor.awaitFresh()
	}
	if refusal := e.supervisor.refusal(); refusal != nil {
		e.answerError(x, refusal, 0)
		return
	}
	c := e.calls.Get().(*dispatch.Call)
	c.Reset()
	if err := e.encode(x, &c.Request, c); err != nil {
		e.calls.Put(c)
		e.answerError(x, err, 0)
		return
	}
	c.Client = x.Conn.Client()
	if e.sticky != nil {
		c.Sticky = e.sticky.wanted(x)
	}
	wanted := c.Sticky
	err := e.dispatcher.Submit(c)
	if err == nil {
		e.sendInterim(x, c)
		err = c.Wait()
	}
	if e.sticky != nil && err == nil {
		e.sticky.bind(x, wanted, c.Worker)
	}
	if c.BodyFile != nil {
		c.BodyFile.Close()
	}
	if err == nil {
		err = e.respond(x, c)
	}
	if err != nil {
		e.answerError(x, err, c.ID)
	}
	c.Client = nil // a call at rest keeps no connection alive
	e.calls.Put(c)
}

// encode turns the request into a message for a worker, body included.
func (e *Engine) encode(x *httpd.Exchange, r *link.Request, c *dispatch.Call) error {
	var body httpd.Body
	hasBody := x.HasBody()
	if hasBody {
		var err error
		if body, err = x.ReadBody(c.Body, inlineBody, e.tempFile); err != nil {
			return err
		}
		c.BodyFile = body.File
	}
	r.Add(link.KeyRequestMethod, x.Method)
	r.Add(link.KeyRequestURI, x.Target)
	r.Add(link.KeyPathInfo, pathInfo(x))
	r.Add(link.KeyQueryString, x.Query)
	r.Add(link.KeyServerProtocol, x.Protocol)
	r.Add(link.KeyHTTPVersion, x.Protocol)
	r.AddString(link.KeyServerName, x.Server)
	r.AddString(link.KeyServerPort, x.Port)
	r.AddString(link.KeyRemoteAddr, x.Conn.RemoteHost())
	r.AddString(link.KeyRemotePort, x.Conn.RemotePort())
	if x.Host != nil {
		r.Add(link.KeyHTTPHost, x.Host)
	}
	if x.ContentType != nil {
		r.Add(link.KeyContentType, x.ContentType)
	}
	if hasBody || x.Ctx.Request.Header.ContentLength() == 0 && len(x.Ctx.Request.Header.Peek("Content-Length")) > 0 {
		var digits [20]byte
		r.Add(link.KeyContentLength, strconv.AppendInt(digits[:0], body.Length, 10))
	}
	encodeFields(x, r)
	r.EndFields()
	if x.HTTPS {
		r.SetHTTPS()
	}
	if e.takesInterim(x) {
		r.SetInterim()
	}
	r.SetReceivedAt(monotonicNow())
	switch {
	case body.File != nil:
		r.SetBodyFD(body.Length)
	case hasBody:
		r.SetInlineBody(body.Inline)
		if cap(body.Inline) > cap(c.Body) {
			c.Body = body.Inline[:0] // keep the buffer for the next request
		}
	}
	return nil
}

func (e *Engine) takesInterim(x *httpd.Exchange) bool {
	return e.options.EarlyHints && x.TakesInterim()
}

// sendInterim passes on what the app has to say before its response.
func (e *Engine) sendInterim(x *httpd.Exchange, c *dispatch.Call) {
	for headers := c.Interim(); headers != nil; headers = c.Interim() {
		if !e.takesInterim(x) {
			continue // the worker was told so
		}
		if err := x.SendInterim(http.StatusEarlyHints, headers); err != nil {
			e.log.Debug("interim response not sent", "error", err, "request", requestReference(x, 0))
		}
	}
}

var asterisk = []byte("*")

// pathInfo is the raw path; that of `OPTIONS *` is the asterisk, as the Rack
// specification has it since 3.1 (and Rack 2 does not forbid).
func pathInfo(x *httpd.Exchange) []byte {
	if bytes.Equal(x.Target, asterisk) {
		return nil
	}
	return x.Path
}

func encodeFields(x *httpd.Exchange, r *link.Request) {
	for i := range x.Fields {
		f := &x.Fields[i]
		if f.Joined {
			continue
		}
		mark := r.Begin(f.Key, f.Name)
		r.Append(f.Value)
		separator := ","
		if f.Key == link.KeyHTTPCookie {
			separator = "; "
		}
		for next := f.Next; next != 0; next = x.Fields[next].Next {
			r.AppendString(separator)
			r.Append(x.Fields[next].Value)
		}
		r.End(mark)
	}
}

func (e *Engine) tempFile() (*os.File, error) { return spool.TempFile(e.options.DataBufferDir) }

// answerError tells the client why there is no response from the app.
func (e *Engine) answerError(x *httpd.Exchange, err error, id uint64) {
	var boot *dispatch.BootError
	var app *dispatch.AppError
	var status *dispatch.StatusError
	var parse *httpd.ParseError
	request := requestReference(x, id)
	switch {
	case errors.Is(err, dispatch.ErrClientGone):
		e.log.Debug("client has gone before its request was served", "method", string(x.Method), "path", string(x.Path), "request", request)
		hangUp(x)
	case errors.As(err, &boot):
		e.pages.Boot(x.Ctx, boot)
	case errors.As(err, &app):
		e.pages.App(x.Ctx, app, request)
	case errors.As(err, &status):
		e.log.Warn("request not served", "status", status.Status, "reason", status.Reason, "method", string(x.Method), "path", string(x.Path), "request", request)
		e.pages.Plain(x.Ctx, status.Status, "", "request "+request)
		if status.RetryAfter > 0 {
			x.Ctx.Response.Header.Set("Retry-After", strconv.Itoa(status.RetryAfter))
		}
	case errors.As(err, &parse):
		e.pages.Plain(x.Ctx, parse.Status, parse.Reason, "")
		x.Ctx.SetConnectionClose()
	case errors.Is(err, httpd.ErrStorage):
		e.log.Error("request body cannot be buffered: is the disk full? (data_buffer_dir)", "dir", e.options.DataBufferDir, "error", err, "request", request)
		e.pages.Plain(x.Ctx, http.StatusInsufficientStorage, "The server has no room for this upload at the moment.", "request "+request)
		x.Ctx.SetConnectionClose()
	default:
		e.log.Error("request failed", "error", err, "method", string(x.Method), "path", string(x.Path), "request", request)
		e.pages.Plain(x.Ctx, http.StatusBadGateway, "", "request "+request)
	}
}

// hangUp ends a connection without a response. The status is for the steps of
// the chain, which must not take this for what the app answers.
func hangUp(x *httpd.Exchange) {
	x.Ctx.SetStatusCode(http.StatusServiceUnavailable)
	// Without a client, which is all that can be wrong, there is nothing to end.
	_ = x.TakeOver(func(conn *httpd.Conn, _ []byte) { conn.Close() }, func() {})
}

// requestReference is the name of a request in logs and on error pages: the
// client's X-Request-Id, else the engine's own number.
func requestReference(x *httpd.Exchange, id uint64) string {
	for i := range x.Fields {
		if x.Fields[i].Key == link.KeyHTTPRequestID {
			return string(x.Fields[i].Value)
		}
	}
	return requestNumber(id)
}

// requestNumber is the engine's own name of a request, as log and status have it.
func requestNumber(id uint64) string { return strconv.FormatUint(id, 16) }
