package static

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestChangesAreSeenByTheNextRequest(t *testing.T) {
	for _, size := range []int{0, 10, copyMax + 1, keepMax + 1} {
		for sentence, change := range map[string]func(r *rig, path, content string){
			"rewritten in place":        func(r *rig, path, content string) { r.writeTo(path, content) },
			"replaced by another file":  func(r *rig, path, content string) { r.replace(path, content) },
			"removed and written again": func(r *rig, path, content string) { remove(r, path); r.writeTo(path, content) },
		} {
			r := newRig(t, nil)
			content := text(size)
			path := r.write("a.txt", content)
			r.get("/a.txt").says(t, "before", content)
			r.get("/a.txt").says(t, "before, again", content)
			// The same length and the same mtime.
			changed := strings.ToUpper(content)
			change(r, path, changed)
			r.get("/a.txt").says(t, sentence, changed)
			change(r, path, changed+"longer")
			r.get("/a.txt").says(t, sentence, changed+"longer")
			remove(t, path)
			r.get("/a.txt").says(t, sentence, fromApp)
			r.write("a.txt", content)
			r.get("/a.txt").says(t, "written again", content)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			r.get("/a.txt").says(t, "with other permissions", content)
			remove(t, path)
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			r.get("/a.txt").says(t, "as a directory", fromApp)
		}
	}
}

func (r *rig) replace(path, content string) {
	r.Helper()
	r.writeTo(path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		r.Fatal(err)
	}
}

// The worst case: two contents between which no clock has ticked. The times are
// set as if.
func TestTwoContentsWithinOneTickAreToldApart(t *testing.T) {
	r := newRig(t, nil)
	path := r.write("a.txt", "one")
	var first, second unix.Stat_t
	if err := unix.Stat(path, &first); err != nil {
		t.Fatal(err)
	}
	r.age(path, clockTick-1)
	r.get("/a.txt").says(t, "before", "one")
	if r.files.Status().Files != 0 {
		t.Error("a content is kept that cannot be told from the next one")
	}
	r.writeTo(path, "two")
	if err := unix.Stat(path, &second); err != nil {
		t.Fatal(err)
	}
	r.get("/a.txt").says(t, "after", "two")
}

func TestAFileThatIsBeingWrittenIsTheAppsToAnswer(t *testing.T) {
	for _, size := range []int{0, 10, copyMax + 1, keepMax + 1} {
		r := newRig(t, nil)
		content := text(size)
		path := r.write("a.txt", content)
		writer, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.get("/a.txt").says(t, "while it is open", fromApp)
		writer.Close()
		r.get("/a.txt").says(t, "afterwards", content)
		if writer, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.WriteString("more"); err != nil {
			t.Fatal(err)
		}
		r.get("/a.txt").says(t, "while it is longer already", fromApp)
		writer.Close()
		r.get("/a.txt").says(t, "when it is complete", content+"more")
	}
}

func TestAFileThatChangesWhileItIsSentIsBrokenOff(t *testing.T) {
	const size = 32 << 20 // more than the sockets hold
	for sentence, c := range map[string]struct {
		change func(path string) error
		whole  bool
	}{
		"cut off":       {func(path string) error { return os.Truncate(path, 100) }, false},
		"cut off a bit": {func(path string) error { return os.Truncate(path, size-1) }, false},
		"rewritten": {func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("x"), 0)
			return err
		}, false},
		"removed":                 {os.Remove, true},
		"replaced":                {func(path string) error { return os.Rename(path+".new", path) }, true},
		"given other permissions": {func(path string) error { return os.Chmod(path, 0o600) }, true},
	} {
		r := newRig(t, nil)
		path := r.write("a.bin", strings.Repeat("0123456789abcdef", size/16))
		r.write("a.bin.new", "new")
		got := newSlowReader(t, r, "/a.bin").rest(func() {
			if err := c.change(path); err != nil {
				t.Fatal(err)
			}
		})
		if c.whole != (got == size) {
			t.Errorf("%s: %d of %d bytes came", sentence, got, size)
		}
		r.noFileOpen()
	}
}

func TestAClientThatGoesAwayLeavesNoFileOpen(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.bin", strings.Repeat("0123456789abcdef", 2<<20))
	for range 5 {
		newSlowReader(t, r, "/a.bin").conn.Close()
	}
	r.noFileOpen()
}

func TestASiteThatTakesAnothersPlace(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.txt", "old")
	r.writeTo(r.pages+"/a.txt", "new")
	r.get("/a.txt").says(t, "before", "old")
	r.files.Use(&Site{Public: NewRoot(r.pages, nil)})
	if n := r.files.Status().Files; n != 0 {
		t.Errorf("%d files of the old site are kept", n)
	}
	r.get("/a.txt").says(t, "after", "new")
	r.files.Use(&Site{})
	r.get("/a.txt").says(t, "without any directory", fromApp)
}

func TestTheStatusTellsWhatIsKept(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.txt", text(1000))
	for range 3 {
		r.get("/a.txt")
	}
	s := r.files.Status()
	if s.Files != 1 || s.Hits != 2 || s.Misses != 1 || s.Bytes < 1000 || s.BytesLimit != 16<<20 {
		t.Errorf("%+v", s)
	}
}
