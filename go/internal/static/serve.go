package static

import (
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/httpd"
)

// Handler serves the regular files below root to GET and HEAD; every other
// request goes on to next. Unlike Passenger with nginx, a POST to the name of
// a file reaches the app.
func Handler(root *Root, log *slog.Logger, next httpd.Handler) httpd.Handler {
	return func(x *httpd.Exchange) {
		if m := string(x.Method); m != http.MethodGet && m != http.MethodHead {
			next(x)
			return
		}
		name, ok := Name(x.Path)
		if !ok {
			next(x)
			return
		}
		file, err := root.Open(name)
		if err != nil {
			log.Warn("static file cannot be opened, the app is asked", "path", string(x.Path), "error", err)
		}
		if file == nil {
			next(x)
			return
		}
		serve(x.Ctx, file)
	}
}

func serve(ctx *fasthttp.RequestCtx, f *File) {
	modified := time.Unix(f.MTime, 0).UTC()
	etag := fmt.Sprintf(`"%x-%x-%x"`, f.MTime, f.Size, f.Inode)
	h := &ctx.Response.Header
	h.Set("Last-Modified", modified.Format(http.TimeFormat))
	h.Set("ETag", etag)
	h.SetContentType(contentType(f.Name()))
	if fresh(ctx, etag, modified) {
		f.Close()
		ctx.SetStatusCode(http.StatusNotModified)
		return
	}
	SendFile(ctx, f)
}

// SendFile makes the file the body of the response; it is closed when sent.
func SendFile(ctx *fasthttp.RequestCtx, f *File) {
	if f.Size == 0 {
		f.Close()
		ctx.Response.SetBodyRaw(nil)
		return
	}
	ctx.Response.SetBodyStream(f.File, int(f.Size))
}

// fresh evaluates If-None-Match, or else If-Modified-Since (RFC 9110 §13.2.2).
func fresh(ctx *fasthttp.RequestCtx, etag string, modified time.Time) bool {
	if none := peek(ctx, "If-None-Match"); none != "" {
		for _, candidate := range strings.Split(none, ",") {
			candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
			if candidate == etag || candidate == "*" {
				return true
			}
		}
		return false
	}
	if since := peek(ctx, "If-Modified-Since"); since != "" {
		t, err := http.ParseTime(since)
		return err == nil && !modified.After(t)
	}
	return false
}

// peek finds a request header by any spelling of its name: the server keeps
// names as they were sent.
func peek(ctx *fasthttp.RequestCtx, name string) string {
	for key, value := range ctx.Request.Header.All() {
		if strings.EqualFold(string(key), name) {
			return string(value)
		}
	}
	return ""
}

func contentType(name string) string {
	t := mime.TypeByExtension(path.Ext(name))
	if t == "" {
		return "application/octet-stream"
	}
	return t
}
