package static

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestURLPathsThatCanNameAFile(t *testing.T) {
	for path, want := range map[string]string{
		"/robots.txt":             "/robots.txt",
		"/a%20b.txt":              "/a b.txt",
		"/assets/app.css":         "/assets/app.css",
		"/.well-known/security":   "/.well-known/security",
		"/%2ewell-known/security": "/.well-known/security",
		"/":                       "/",
		"/dir/":                   "/dir/",
		"/%252e%252e/etc":         "/%2e%2e/etc",
		"/v1.2/x":                 "/v1.2/x",
		"":                        "",
		"/../etc/passwd":          "",
		"/..":                     "",
		"/%2e%2e/etc/passwd":      "",
		"/a/..%2f..%2fetc/passwd": "",
		"/a%2fb":                  "",
		"/a%5c..%5cb":             "",
		"/a\\b":                   "",
		"/a%00.txt":               "",
		"/.env":                   "",
		"/a/.git/config":          "",
		"/a/.git/":                "",
		"/.well-known":            "/.well-known",
		"//etc/passwd":            "",
		"/a//b":                   "",
		"/a//":                    "",
		"/a%2":                    "",
		"/a%zz":                   "",
		"*":                       "",
		"/x/.well-known/y":        "",
	} {
		got, ok := locate(nil, []byte(path))
		if ok != (want != "") || ok && string(got.path) != want {
			t.Errorf("%s leads to %q, %v", path, got.path, ok)
		}
		if ok && got.directory != strings.HasSuffix(want, "/") {
			t.Errorf("%s: directory is %v", path, got.directory)
		}
	}
}

func TestOnlyRegularFilesBelowTheRootAreOpened(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "public")
	os.Mkdir(root, 0o755)
	os.WriteFile(filepath.Join(root, "ok.txt"), []byte("ok"), 0o644)
	os.WriteFile(filepath.Join(base, "secret"), []byte("no"), 0o644)
	os.Symlink("../secret", filepath.Join(root, "out.txt"))
	os.Symlink("ok.txt", filepath.Join(root, "in.txt"))
	os.Mkdir(filepath.Join(root, "dir"), 0o755)
	if err := syscall.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := NewRoot(root, nil)
	for name, there := range map[string]bool{"ok.txt": true, "in.txt": true, "out.txt": false, "dir": false, "fifo": false, "none": false, "../secret": false} {
		f, err := r.Open(root + "/" + name)
		if (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
		if f != nil {
			f.Close()
		}
	}
	fifo, err := os.OpenFile(filepath.Join(root, "fifo"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Regular(fifo); err == nil {
		t.Error("a FIFO is taken as a response body")
	}
	if _, err := NewRoot(filepath.Join(base, "none"), nil).Open(base + "/none/x"); !missing(err) {
		t.Errorf("a missing directory: %v", err)
	}
}
