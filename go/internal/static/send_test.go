package static

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"passenger/go/internal/httpd"
)

func TestAFileThatTheAppNamesIsSentAsTheAppSays(t *testing.T) {
	const size = 2000
	type set = map[string]string
	get, head := "GET", "HEAD"
	for sentence, c := range map[string]struct {
		status int
		given  set
		method string
		asked  []string
		want   int
		fields []string
		length int
	}{
		"without a word": {200, nil, get, nil, 200, []string{"Content-Type: application/pdf", "Last-Modified: " + date, "Accept-Ranges: bytes",
			"Content-Length: 2000", "Vary:", "Cache-Control:"}, size},
		"with its type":            {200, set{"content-type": "text/x"}, get, nil, 200, []string{"Content-Type: text/x"}, size},
		"with its tag":             {200, set{"etag": `"app"`}, get, nil, 200, []string{`ETag: "app"`, "Last-Modified:"}, size},
		"with its date":            {200, set{"last-modified": after}, get, nil, 200, []string{"Last-Modified: " + after, "ETag:"}, size},
		"in part":                  {200, nil, get, []string{"Range: bytes=0-9"}, 206, []string{"Content-Range: bytes 0-9/2000"}, 10},
		"in parts":                 {200, set{"Content-Type": "a/b"}, get, []string{"Range: bytes=0-9,20-29"}, 206, []string{"Content-Range:"}, -1},
		"in no part":               {200, set{"cache-control": "public", "EXPIRES": after}, get, []string{"Range: bytes=5000-"}, 416, []string{"Content-Range: bytes */2000", "Cache-Control:", "Expires:", "Content-Type:"}, 0},
		"with Cache-Control":       {200, set{"cache-control": "public"}, get, []string{"Range: bytes=0-0"}, 206, []string{"Cache-Control: public"}, 1},
		"to HEAD":                  {200, nil, head, nil, 200, []string{"Content-Length: 2000"}, 0},
		"to HEAD with a range":     {200, nil, head, []string{"Range: bytes=0-9"}, 200, []string{"Content-Length: 2000", "Content-Range:"}, 0},
		"to POST":                  {200, nil, "POST", []string{"Content-Length: 0", "Range: bytes=0-9", "If-Match: \"x\""}, 200, []string{"Content-Range:", "Content-Type: application/pdf"}, size},
		"if its tag has changed":   {200, set{"ETag": `"app"`}, get, []string{`If-None-Match: "app"`}, 304, []string{`ETag: "app"`, "Content-Type:"}, 0},
		"if its weak tag has":      {200, set{"ETag": `W/"app"`}, get, []string{`If-None-Match: "app"`}, 304, []string{`ETag: W/"app"`}, 0},
		"if its tag is another":    {200, set{"ETag": `"app"`}, get, []string{`If-None-Match: "file"`, "If-Modified-Since: " + after}, 200, nil, size},
		"if its date has changed":  {200, set{"Last-Modified": date}, get, []string{"If-Modified-Since: " + date}, 304, []string{"Last-Modified: " + date}, 0},
		"if its date is newer":     {200, set{"Last-Modified": after}, get, []string{"If-Modified-Since: " + date}, 200, nil, size},
		"if the file's has":        {200, nil, get, []string{"If-Modified-Since: " + date}, 304, nil, 0},
		"not on a failed match":    {200, set{"ETag": `"app"`, "Cache-Control": "max-age=60"}, get, []string{`If-Match: "x"`}, 412, []string{"Cache-Control:"}, 0},
		"not after its date":       {200, set{"Last-Modified": after}, get, []string{"If-Unmodified-Since: " + date}, 412, nil, 0},
		"if it has no date to ask": {200, set{"ETag": `"app"`}, get, []string{"If-Unmodified-Since: " + before}, 200, nil, size},
		"if its date is none":      {200, set{"Last-Modified": "today"}, get, []string{"If-Modified-Since: " + after, "If-Unmodified-Since: " + before}, 200, []string{"Last-Modified: today"}, size},
		"in part by its tag":       {200, set{"ETag": `"app"`}, get, []string{"Range: bytes=0-9", `If-Range: "app"`}, 206, nil, 10},
		"whole by a weak tag":      {200, set{"ETag": `W/"app"`}, get, []string{"Range: bytes=0-9", `If-Range: W/"app"`}, 200, nil, size},
		"whole by another tag":     {200, set{"ETag": `"app"`}, get, []string{"Range: bytes=0-9", `If-Range: "x"`}, 200, nil, size},
		"as an error":              {404, nil, get, []string{"Range: bytes=0-9", "If-None-Match: *"}, 404, []string{"Content-Type: application/pdf", "ETag:", "Last-Modified:", "Accept-Ranges:"}, size},
		"as created":               {201, set{"Content-Type": "a/b"}, get, nil, 201, []string{"Content-Type: a/b"}, size},
		"as a part of its own":     {200, set{"content-range": "bytes 0-1999/5000"}, get, []string{"Range: bytes=0-9"}, 200, []string{"Content-Range: bytes 0-1999/5000"}, size},
		"as a 206 of its own":      {206, set{"content-range": "bytes 0-1999/5000"}, get, []string{"Range: bytes=0-9"}, 206, []string{"Content-Range: bytes 0-1999/5000"}, size},
		"without ranges":           {200, set{"accept-ranges": "none"}, get, []string{"Range: bytes=0-9"}, 200, []string{"Accept-Ranges: none"}, size},
		"encoded already":          {200, set{"content-encoding": "gzip"}, get, []string{"Range: bytes=0-9"}, 200, []string{"Content-Encoding: gzip", "Accept-Ranges:"}, size},
		"encoded, and not new":     {200, set{"content-encoding": "gzip"}, get, []string{"If-Modified-Since: " + date}, 304, []string{"Content-Encoding:"}, 0},
		"without content":          {204, nil, get, nil, 204, nil, 0},
		"unchanged by its word":    {304, set{"ETag": `"app"`}, get, nil, 304, []string{`ETag: "app"`}, 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRig(t, nil)
			content := text(size)
			path := r.write("../named.pdf", content)
			r.answerWith(func(x *httpd.Exchange) {
				x.Ctx.SetStatusCode(c.status)
				for name, value := range c.given {
					x.Ctx.Response.Header.Add(name, value)
				}
				file, err := os.Open(path)
				if err != nil {
					t.Error(err)
				}
				regular, err := Regular(file)
				if err != nil {
					t.Error(err)
				}
				// Without a second's pause the file has no validators yet.
				regular.changed -= int64(time.Minute)
				Send(x, regular)
			})
			for range 2 { // the connection is good for another one
				a := r.ask(c.method, "/app", c.asked...)
				a.is(t, sentence, c.want, c.fields...)
				switch {
				case a.err != nil || c.length >= 0 && len(a.body) != c.length || c.length > 0 && a.body != content[:c.length]:
					t.Errorf("%d bytes, %v", len(a.body), a.err)
				case c.length < 0:
					a.is(t, sentence, c.want, "Content-Length: "+fmt.Sprint(len(a.body)))
					if !strings.Contains(a.body, "\r\nContent-Type: a/b\r\n") {
						t.Errorf("%q", a.body)
					}
				}
			}
			r.noFileOpen()
		})
	}
}

func TestAnEmptyFileCanBeSent(t *testing.T) {
	r := newRig(t, nil)
	path := r.write("../empty.bin", "")
	r.answerWith(func(x *httpd.Exchange) {
		file, err := NewDirs([]string{r.pages, "/"}).Open(path)
		if err != nil {
			t.Error(err)
		}
		Send(x, file)
	})
	r.get("/app").is(t, "empty", 200, "Content-Length: 0")
	r.get("/app", "Range: bytes=0-").is(t, "empty", 416, "Content-Range: bytes */0")
}
