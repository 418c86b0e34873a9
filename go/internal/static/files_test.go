package static

import (
	"net/http"
	"os"
	"testing"

	"passenger/go/internal/httpd"
)

func TestWhichFileAURLStandsFor(t *testing.T) {
	r := newRig(t, nil)
	for _, name := range []string{"robots.txt", "plain", "dir/a.txt", "index.html", "public.html", "both.html", "dir/index.html", "v1.2.html", ".well-known/x.txt", "blog/own.txt",
		"blogger.txt", "a b+c.txt", "x.html/y.txt", ".env", "dir/.hidden"} {
		r.write(name, "public "+name)
	}
	for _, name := range []string{"both.html", "foo.html", "foo/index.html", "bar.html", "baz/index.html", "feed.xml", "robots.txt", ".draft.html", "both"} {
		r.writeTo(r.pages+"/"+name, "pages "+name)
	}
	for target, want := range map[string]string{
		"/robots.txt":           "public robots.txt", // what is in both is the public directory's
		"/plain":                "public plain",
		"/":                     "public index.html",
		"/index.html":           "public index.html",
		"/public":               "public public.html",
		"/both":                 "pages both",
		"/both.html":            "public both.html",
		"/foo":                  "pages foo.html",
		"/foo?page=2":           "pages foo.html",
		"/foo/":                 "pages foo/index.html",
		"/bar/":                 "pages bar.html",
		"/baz/":                 "pages baz/index.html",
		"/baz":                  fromApp,
		"/feed.xml":             "pages feed.xml",
		"/feed":                 fromApp,
		"/dir":                  fromApp,
		"/dir/":                 "public dir/index.html",
		"/dir/a.txt":            "public dir/a.txt",
		"/dir/a.txt/":           fromApp,
		"/v1.2":                 fromApp, // it has an extension
		"/.well-known/x.txt":    "public .well-known/x.txt",
		"/.env":                 fromApp,
		"/dir/.hidden":          fromApp,
		"/.draft":               fromApp,
		"/blog":                 "public index.html",
		"/blog/":                "public index.html",
		"/blog/foo":             "pages foo.html",
		"/blog/robots.txt":      "public robots.txt",
		"/blog/own.txt":         fromApp, // the prefix is not a directory
		"/blogger.txt":          "public blogger.txt",
		"/blog/blog/robots.txt": fromApp,
		"/a%20b+c.txt":          "public a b+c.txt",
		"/x.html/y.txt":         "public x.html/y.txt",
		"/x":                    fromApp,
		"/none":                 fromApp,
		"http://h/robots.txt":   "public robots.txt",
		"http://h":              "public index.html",
	} {
		for range 2 {
			r.get(target).says(t, target, want)
		}
	}
	r.files.Use(&Site{Public: r.site.Public})
	for target, want := range map[string]string{"/": fromApp, "/dir/": fromApp, "/public": fromApp, "/public.html": "public public.html"} {
		r.get(target).says(t, target+" without pages", want)
	}
}

func TestMethodsForWhichFilesAreServed(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.txt", "content")
	r.answerWith(func(x *httpd.Exchange) { x.Ctx.SetStatusCode(http.StatusTeapot) })
	for method, status := range map[string]int{"GET": 200, "HEAD": 200, "POST": 418, "PUT": 418, "DELETE": 418, "OPTIONS": 418, "PATCH": 418, "get": 418, "QUERY": 418} {
		r.ask(method, "/a.txt", "Content-Length: 0").is(t, method, status)
	}
	a := r.ask("HEAD", "/a.txt")
	a.says(t, "HEAD", "")
	a.is(t, "HEAD", 200, "Content-Length: 7", "Last-Modified: "+date, "Content-Type: text/plain; charset=utf-8", "Accept-Ranges: bytes")
	r.write("large.bin", text(keepMax+1))
	r.ask("HEAD", "/large.bin", "Range: bytes=0-9").is(t, "HEAD of a large file", 200, "Content-Length: 262145", "Content-Range:")
}

func TestTypesOfFiles(t *testing.T) {
	r := newRig(t, nil)
	for name, want := range map[string]string{
		"a.html": "text/html; charset=utf-8", "a.js": "text/javascript; charset=utf-8", "a.mjs": "text/javascript; charset=utf-8",
		"a.css": "text/css; charset=utf-8", "a.json": "application/json", "a.svg": "image/svg+xml", "a.wasm": "application/wasm", "a.woff2": "font/woff2",
		"a.PNG": "image/png", "a.tar.gz": "application/gzip", "a": "application/octet-stream", "a.unknown": "application/octet-stream",
		"dir.css/a": "application/octet-stream", "a.": "application/octet-stream", "a.webmanifest": "application/manifest+json", "a.ico": "image/vnd.microsoft.icon",
		"a.xml": "application/xml", "a.txt": "text/plain; charset=utf-8", "a.map": "application/json", "a.pdf": "application/pdf", "a.avif": "image/avif",
	} {
		r.write(name, "content")
		r.get("/"+name).is(t, name, 200, "Content-Type: "+want)
	}
}

func TestDigestedFilesAreThoseOfTheirURL(t *testing.T) {
	r := newRig(t, nil)
	lasting := "Cache-Control: public, max-age=315360000, immutable"
	for _, name := range []string{"assets/a-0123abcd.js", "assets/a.js", "a-0123abcd.js", "assets/b-0123abcd.html", "assets/ü-0123abcd.js"} {
		r.write(name, "content")
	}
	for target, want := range map[string]string{
		"/assets/a-0123abcd.js":      lasting,
		"/blog/assets/a-0123abcd.js": lasting,
		"/assets/a%2d0123abcd.js":    lasting,
		"/assets/a-0123abcd.js?x":    lasting,
		"/assets/%c3%bc-0123abcd.js": lasting,
		"/assets/a.js":               "Cache-Control:",
		"/a-0123abcd.js":             "Cache-Control:",
		"/assets/b-0123abcd.html":    lasting,
	} {
		for range 2 {
			r.get(target).is(t, target, 200, want)
		}
	}
}

func TestAFileThatMayNotBeReadIsTheAppsToAnswer(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.txt", "content")
	if err := os.Symlink("/etc/passwd", r.dir+"/out.txt"); err != nil {
		t.Fatal(err)
	}
	r.get("/out.txt").says(t, "a link that leads out", fromApp)
	r.get("/a.txt").says(t, "its neighbour", "content")
}

func TestErrorPages(t *testing.T) {
	r := newRig(t, nil)
	for name, content := range map[string]string{"500.html": "five hundred", "404.html": "lost", "413.html": ""} {
		r.write(name, content)
	}
	if err := os.Symlink("/etc/passwd", r.dir+"/502.html"); err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int]string{500: "five hundred", 502: "five hundred", 504: "five hundred", 503: "", 404: "lost", 413: "", 400: ""} {
		if got := string(r.files.ErrorPage(status)); got != want {
			t.Errorf("%d: %q, not %q", status, got, want)
		}
	}
	r.write("503.html", text(errorPageMax+1))
	if r.files.ErrorPage(503) != nil {
		t.Error("a page of more than a megabyte is shown")
	}
	r.write("503.html", "back soon")
	if got := string(r.files.ErrorPage(503)); got != "back soon" {
		t.Errorf("%q", got)
	}
	r.files.Use(&Site{})
	if r.files.ErrorPage(500) != nil {
		t.Error("a page without a directory")
	}
}
