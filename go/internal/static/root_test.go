package static

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestWhereLinksMayLead(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(base, name) }
	for _, name := range []string{"releases/1/public/file", "releases/1/public/dir/file", "releases/1/config/secret", "releases/2/public/file", "shared/public/uploads/file",
		"shared-not/file", "elsewhere/file", "releases/1/public-not/file"} {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	public := "releases/1/public/"
	for name, target := range map[string]string{
		"current":                  "releases/1",
		"shared-by-another-name":   "shared",
		public + "relative":        "file",
		public + "absolute":        at(public + "file"),
		public + "by-current":      at("current/public/file"),
		public + "down":            "dir",
		public + "dir/up":          "../file",
		public + "uploads":         at("shared/public/uploads"),
		public + "uploads-up":      "../../../shared/public/uploads",
		public + "other-release":   at("releases/2/public/file"),
		public + "config":          "../config/secret",
		public + "shared-not":      at("shared-not"),
		public + "neighbour":       "../public-not/file",
		public + "elsewhere":       at("elsewhere/file"),
		public + "chain":           "relative",
		public + "chain-out":       "elsewhere",
		public + "out-and-in":      "../../1/public/file",
		public + "loop":            "loop",
		public + "dangling":        "nothing",
		public + "dangling-out":    "/nothing/at/all",
		public + "self":            "/proc/self/cwd",
		public + "root":            "/proc/self/root" + at("elsewhere/file"),
		public + "directory":       ".",
		public + "tty":             "/dev/tty",
		"elsewhere/back":           at(public),
		public + "through-outside": at("elsewhere/back/file"),
	} {
		if err := os.Symlink(target, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(at("elsewhere/file"), at(public+"hard")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{at("releases/1/public"), at("current/public"), at("releases/1/public") + "//"} {
		root := NewRoot(dir, []string{at("shared-by-another-name"), at("releases/2"), at("not-there")})
		for name, want := range map[string]string{
			"file": "file", "dir/file": "dir/file", "relative": "file", "absolute": "file", "by-current": "file", "down/file": "dir/file", "dir/up": "file",
			"uploads/file": "shared", "uploads-up/file": "shared", "other-release": "releases/2", "chain": "file", "out-and-in": "file", "directory/directory/file": "file",
			"through-outside": "file", "hard": "elsewhere",
			"config": "outside", "shared-not/file": "outside", "neighbour": "outside", "elsewhere": "outside", "chain-out": "outside", "root": "outside",
			"loop": "missing", "dangling": "missing", "dangling-out": "missing", "dir": "missing", "uploads": "missing", "tty": "missing", "none": "missing",
			"file/none": "missing", "../config/secret": "outside", "../public/file": "file", "self": "missing", strings.Repeat("x", 5000): "missing", "": "missing",
		} {
			file, err := root.Open(root.dir + "/" + name)
			got := ""
			switch {
			case err == nil:
				content := make([]byte, file.Size())
				if err := file.readAll(content); err != nil {
					t.Error(err)
				}
				file.Close()
				got = strings.TrimPrefix(string(content), public)
				if !strings.HasPrefix(got, want) {
					t.Errorf("%.40s in %s is %s", name, dir, got)
				}
				continue
			case errors.Is(err, ErrOutside):
				got = "outside"
			case missing(err):
				got = "missing"
			default:
				got = err.Error()
			}
			if got != want {
				t.Errorf("%.40s in %s is %s, not %s", name, dir, got, want)
			}
		}
	}
	if n := openBelow(t, base); n != 0 {
		t.Errorf("%d files are left open", n)
	}
}

func TestARootIsTheDirectoryThatHasItsNameNow(t *testing.T) {
	base := t.TempDir()
	for i := range 2 {
		dir := filepath.Join(base, fmt.Sprint("release", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/file", []byte{byte('0' + i)}, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root := NewRoot(base+"/public", nil)
	if _, err := root.Open(base + "/public/file"); !missing(err) {
		t.Error(err)
	}
	for i := range 2 {
		os.Remove(base + "/public")
		if err := os.Symlink(fmt.Sprint("release", i), base+"/public"); err != nil {
			t.Fatal(err)
		}
		file, err := root.Open(base + "/public/file")
		if err != nil {
			t.Fatal(err)
		}
		content := make([]byte, 1)
		if err := file.readAll(content); err != nil || content[0] != byte('0'+i) {
			t.Errorf("%q, %v", content, err)
		}
		file.Close()
	}
}

func TestTheWholeFileSystemCanBeARoot(t *testing.T) {
	path := scratch(t)
	file, err := NewRoot("/", nil).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
}

// The kernel cannot tell whether .. stays below a directory while something is
// renamed, and says so.
func TestLinksUpwardsAreFollowedWhileFilesAreRenamed(t *testing.T) {
	base := t.TempDir()
	if err := os.MkdirAll(base+"/public/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/public/file", "/public/x"} {
		if err := os.WriteFile(base+name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../a/b/../../a/b/../../file", base+"/public/a/b/up"); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		for !stop.Load() {
			if err := os.Rename(base+"/public/x", base+"/public/y"); err != nil {
				done <- err
				return
			}
			if err := os.Rename(base+"/public/y", base+"/public/x"); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	root := NewRoot(base+"/public", nil)
	for range 20_000 {
		file, err := root.Open(base + "/public/a/b/up")
		if err != nil {
			t.Errorf("%v", err)
			break
		}
		file.Close()
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFilesThatTheAppOpenedAreTakenIfTheyAreRegular(t *testing.T) {
	base := t.TempDir()
	if err := syscall.Mkfifo(base+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for name, regular := range map[string]bool{base: false, "/dev/null": false, base + "/fifo": false, scratch(t): true} {
		opened, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		file, err := Regular(opened)
		if (err == nil) != regular {
			t.Errorf("%s: %v", name, err)
		}
		if file != nil {
			if file.Name() != name || file.Size() != 7 {
				t.Errorf("%s: %s, %d bytes", name, file.Name(), file.Size())
			}
			file.Close()
		}
		if _, err := opened.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s was not taken over: %v", name, err)
		}
	}
	if n := openBelow(t, base); n != 0 {
		t.Errorf("%d files are left open", n)
	}
}

func TestFileSystemsThatAnswerAtOnce(t *testing.T) {
	for sentence, c := range map[string]struct {
		mounts string
		want   bool
	}{
		"a disk":                         {"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n", true},
		"a disk without optional fields": {"22 1 8:1 / / rw - xfs /dev/sda1 rw\n", true},
		"a disk and the kernel's":        {"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:1 / /proc rw - proc proc rw\n", true},
		"a network":                      {"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n24 22 0:2 / /srv rw - nfs4 server:/ rw\n", false},
		"a program":                      {"24 22 0:2 / /srv rw - fuse.sshfs server:/ rw\n", false},
		"what cannot be read":            {"garbage\n", false},
	} {
		if onlyLocal(c.mounts) != c.want {
			t.Errorf("%s: not %v", sentence, c.want)
		}
	}
}
