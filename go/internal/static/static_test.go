package static

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestNamesThatMayBeServed(t *testing.T) {
	for path, want := range map[string]string{
		"/robots.txt":             "robots.txt",
		"/a%20b.txt":              "a b.txt",
		"/assets/app.css":         "assets/app.css",
		"/.well-known/security":   ".well-known/security",
		"/":                       "",
		"/dir/":                   "",
		"/../etc/passwd":          "",
		"/%2e%2e/etc/passwd":      "",
		"/a/..%2f..%2fetc/passwd": "",
		"/a%5c..%5cb":             "",
		"/a%00.txt":               "",
		"/.env":                   "",
		"/a/.git/config":          "",
		"//etc/passwd":            "",
		"/a//b":                   "",
		"/a%2":                    "",
		"/a%zz":                   "",
		"*":                       "",
		"/x/.well-known/y":        "",
		"/%252e%252e/etc":         "%2e%2e/etc",
	} {
		got, ok := Name([]byte(path))
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s maps to %q, %v", path, got, ok)
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
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for name, there := range map[string]bool{"ok.txt": true, "in.txt": true, "out.txt": false, "dir": false, "fifo": false, "none": false, "../secret": false} {
		f, err := r.Open(name)
		if err != nil || (f != nil) != there {
			t.Errorf("%s: %v, %v", name, f, err)
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
	if r, err := OpenRoot(filepath.Join(base, "none")); r != nil || err != nil {
		t.Errorf("a missing directory: %v, %v", r, err)
	}
}

func FuzzNameStaysBelowTheRoot(f *testing.F) {
	for _, seed := range []string{"/a", "/../x", "/%2e%2e/x", "/a/./b", "/%2fetc", "/.well-known/../x", "/\\..\\x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		name, ok := Name(path)
		if !ok {
			return
		}
		clean := filepath.Clean("/root/" + name)
		if !strings.HasPrefix(clean, "/root/") || strings.IndexByte(name, 0) >= 0 {
			t.Errorf("%q maps to %q", path, name)
		}
	})
}
