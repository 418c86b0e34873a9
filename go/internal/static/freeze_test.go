package static

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func opened(t testing.TB, path string) *File {
	t.Helper()
	f, err := NewRoot(filepath.Dir(path), nil).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func scratch(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAFileThatIsOpenForWritingCannotBeFrozen(t *testing.T) {
	for sentence, c := range map[string]struct {
		flags int
		frees bool
	}{
		"for writing": {os.O_WRONLY, false}, "for both": {os.O_RDWR, false}, "for appending": {os.O_WRONLY | os.O_APPEND, false}, "for reading": {os.O_RDONLY, true},
	} {
		path := scratch(t)
		other, err := os.OpenFile(path, c.flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := opened(t, path)
		thaw, err := f.freeze(time.Now().Add(time.Hour))
		if c.frees != (err == nil) || err != nil && !errors.Is(err, errBeingWritten) {
			t.Errorf("open %s: %v", sentence, err)
		}
		if err == nil {
			thaw()
		}
		other.Close()
		if thaw, err = f.freeze(time.Now()); err != nil {
			t.Errorf("closed again: %v", err)
		} else {
			thaw()
		}
	}
}

// What is mapped is written without being open.
func TestAFileThatIsMappedForWritingCannotBeFrozen(t *testing.T) {
	path := scratch(t)
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := unix.Mmap(int(writer.Fd()), 0, 7, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	f := opened(t, path)
	if _, err := f.freeze(time.Now()); !errors.Is(err, errBeingWritten) {
		t.Error(err)
	}
	if err := unix.Munmap(memory); err != nil {
		t.Fatal(err)
	}
	thaw, err := f.freeze(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	thaw()
}

func TestSeveralReadersFreezeAFileAtOnce(t *testing.T) {
	path := scratch(t)
	var thaws []func()
	for range 3 {
		thaw, err := opened(t, path).freeze(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		thaws = append(thaws, thaw)
	}
	for _, thaw := range thaws {
		thaw()
	}
}

// The kernel's signal to who holds the file is ignored: left alone, SIGIO ends
// a process.
func TestAWriterWaitsUntilTheFileThaws(t *testing.T) {
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGIO)
	defer signal.Stop(signals)
	path := scratch(t)
	f := opened(t, path)
	thaw, err := f.freeze(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("a writer that does not wait gets %v", err)
	}
	writer := exec.Command("/bin/sh", "-c", `echo changed > "$1"`, "sh", path)
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- writer.Wait() }()
	// The lease is being broken as soon as nobody gets another one.
	eventually(t, "the writer waits", func() bool {
		again, err := opened(t, path).freeze(time.Now())
		if err == nil {
			again()
		}
		return errors.Is(err, errBeingWritten)
	})
	select {
	case err := <-done:
		t.Fatalf("the writer did not wait: %v", err)
	default:
	}
	content := make([]byte, 7)
	if _, err := f.ReadAt(content, 0); err != nil || string(content) != "content" {
		t.Errorf("%q, %v", content, err)
	}
	thaw()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the writer was not let in")
	}
	select {
	case s := <-signals:
		t.Errorf("the kernel sent %v", s)
	default:
	}
}

func TestClosingAFileThawsIt(t *testing.T) {
	path := scratch(t)
	f, err := NewRoot(filepath.Dir(path), nil).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.freeze(time.Now()); err != nil {
		t.Fatal(err)
	}
	f.Close()
	w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
}

func TestWithoutALeaseTheLastSecondCounts(t *testing.T) {
	for sentence, c := range map[string]struct {
		modified, changed time.Duration // before now
		written           bool
	}{
		"just changed":                                       {0, 0, true},
		"changed within a second":                            {time.Hour, 999 * time.Millisecond, true},
		"changed a second ago":                               {time.Second, time.Second, false},
		"with a time in the future":                          {-time.Hour, time.Minute, false},
		"changed in the future, by a clock that is not ours": {time.Hour, -time.Minute, true},
	} {
		now := time.Unix(longAgo, 0)
		id := identity{modified: now.Add(-c.modified).UnixNano(), changed: now.Add(-c.changed).UnixNano()}
		if id.mayBeWritten(now) != c.written {
			t.Errorf("%s: not %v", sentence, c.written)
		}
	}
}

const childVariable = "STATIC_TEST_FILE_OF_ANOTHER_USER"

// The kernel gives leases on one's own files only. The test runs itself as
// somebody else.
func TestAFileOfAnotherUserIsFrozenByItsAge(t *testing.T) {
	if path := os.Getenv(childVariable); path != "" {
		f := opened(t, path)
		if thaw, err := f.freeze(time.Now().Add(time.Hour)); err != nil {
			t.Errorf("an old one: %v", err)
		} else {
			thaw()
		}
		if _, err := f.freeze(time.Unix(0, f.changed)); !errors.Is(err, errBeingWritten) {
			t.Errorf("a new one: %v", err)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	path := scratch(t)
	for dir := filepath.Dir(path); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self) // where it lies, others may not go
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(filepath.Dir(path), "static.test")
	if err := os.WriteFile(other, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(other, "-test.run=^"+t.Name()+"$", "-test.v")
	child.Dir = filepath.Dir(path)
	child.Env = append(os.Environ(), childVariable+"="+path, "TMPDIR="+os.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}
