package static

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/compress"
	"passenger/go/internal/httpd"
)

// tree is an app with files that may be served, which say "public", and files
// that may not, which say "secret".
func tree(t testing.TB) *Files {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content+" "+name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(base, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"robots.txt", "a b.txt", "assets/app.css", "assets/app.css.gz", "dir/index.html", "dir/b.html", "index.html",
		".well-known/security.txt", "...", "%2e%2e", "a%00b", "c:\\x", "é.txt", "x.html/y"} {
		if name[0] == '.' && name[1] == '.' {
			write("app/public/"+name, "secret")
		} else {
			write("app/public/"+name, "public")
		}
	}
	write("app/pages/cached.html", "public")
	write("app/pages/feed.xml", "public")
	write("shared/upload.txt", "public")
	for _, name := range []string{"app/public/.env", "app/public/.git/config", "app/public/dir/.hidden", "app/public/.well-known/.x",
		"app/config/master.key", "secret", "app/pages/.draft.html"} {
		write(name, "secret")
	}
	link("../../secret", "app/public/out.txt")
	link("/etc/passwd", "app/public/passwd.txt")
	link("/etc", "app/public/etc")
	link("..", "app/public/up")
	link("../../../../../../../../..", "app/public/top")
	link("/dev/zero", "app/public/zero")
	link("loop", "app/public/loop")
	link("gone", "app/public/dangling")
	link(filepath.Join(base, "shared"), "app/public/uploads")
	link("dir", "app/public/inside")
	if err := syscall.Mkfifo(filepath.Join(base, "app/public/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	links := []string{filepath.Join(base, "shared")}
	public := NewRoot(filepath.Join(base, "app/public"), links)
	return New(Options{
		CacheSize: 1 << 20, Compression: true, MinSize: 1, Encode: compress.Levels{Gzip: 1, Brotli: 1}.Bytes, Log: slog.New(slog.DiscardHandler),
	}, &Site{
		Public: public, Pages: []*Root{NewRoot(filepath.Join(base, "app/pages"), links), public}, Prefix: []byte("/blog"),
		Assets: []*regexp.Regexp{regexp.MustCompile("^/assets/")},
	})
}

var escapes = []string{
	"/robots.txt", "/a%20b.txt", "/assets/app.css", "/dir/", "/dir/b", "/cached", "/feed.xml", "/", "/blog/robots.txt", "/blog", "/blog/",
	"/uploads/upload.txt", "/inside/b.html", "/.well-known/security.txt", "/%c3%a9.txt", "/...", "/%252e%252e", "/a%2500b", "/x.html/y",
	"/../secret", "/..%2fsecret", "/%2e%2e/secret", "/%2E%2E%2Fsecret", "/dir/../../secret", "/..\\secret", "/%5c..%5csecret", "/..%5csecret",
	"/%00", "/robots.txt%00.html", "/%c0%ae%c0%ae/secret", "/%u002e%u002e/secret", "/;/../secret", "/./secret", "/dir/./b", "//etc/passwd",
	"/etc/passwd", "/passwd.txt", "/out.txt", "/up/config/master.key", "/up/public/robots.txt", "/top/etc/passwd", "/zero", "/fifo", "/loop",
	"/dangling", "/.env", "/.git/config", "/dir/.hidden", "/%2eenv", "/.well-known/.x", "/.well-known/../.env", "/.draft", "/blog/../secret",
	"/blog%2f..%2f..%2fsecret", "/blog/.env", "/blogx", "/dir/index.html/", "/a%2", "/a%zz", "/%", "/c:%5cx", "/assets/app.css.gz/..",
}

// allowed reports whether a response body may have been served: it is empty, or
// consists of public content, perhaps compressed.
func allowed(body []byte) bool {
	return len(body) == 0 || bytes.HasPrefix(body, []byte("public ")) || bytes.HasPrefix(body, []byte{0x1f, 0x8b})
}

func FuzzNoPathOpensAFileOutsideTheRoots(f *testing.F) {
	files := tree(f)
	for _, path := range escapes {
		f.Add([]byte(path))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		var ctx fasthttp.RequestCtx
		x := &httpd.Exchange{Ctx: &ctx, Method: []byte(http.MethodGet), Path: path}
		if files.serve(x) && !allowed(ctx.Response.Body()) {
			t.Errorf("%q gives %q", path, ctx.Response.Body())
		}
	})
}

// The whole way from the socket, so that it counts what is left of a target
// when its request line has been read.
func FuzzNoTargetOpensAFileOutsideTheRoots(f *testing.F) {
	files := tree(f)
	server := httpd.NewServer(files.Handler(func(x *httpd.Exchange) { x.Ctx.SetBodyString("public app\n") }),
		func(ctx *fasthttp.RequestCtx, status int, reason string) { ctx.SetStatusCode(status) }, slog.New(slog.DiscardHandler))
	server.UseShortcut(files.Shortcut)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			f.Error(err)
		}
		if err := <-done; err != nil {
			f.Error(err)
		}
	})
	for _, path := range escapes {
		f.Add([]byte(path))
		f.Add([]byte("http://h" + path))
	}
	f.Fuzz(func(t *testing.T, target []byte) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Skip(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", target)
		c.(*net.TCPConn).CloseWrite()
		answer, err := io.ReadAll(c)
		if err != nil && len(answer) == 0 {
			return // reset, since it has not read everything that was sent
		}
		for _, leak := range []string{"secret ", "root:"} {
			if bytes.Contains(answer, []byte(leak)) {
				t.Errorf("%q gives %q", target, answer)
			}
		}
	})
}
