package static

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func tomorrow() time.Time { return time.Now().Add(24 * time.Hour).Truncate(time.Second) }

func TestWhatAFileTellsDependsOnItsAge(t *testing.T) {
	changed := int64(longAgo*1_000_000_000 + 123_456_789)
	for sentence, c := range map[string]struct {
		modified, changed int64
		age               time.Duration
		tag, date         bool
	}{
		"nothing at once":                                           {changed, changed, 0, false, false},
		"nothing within a tick of the clock":                        {changed, changed, clockTick - 1, false, false},
		"a tag after it":                                            {changed, changed, clockTick, true, false},
		"no time within a second":                                   {changed, changed, time.Second - 1, true, false},
		"everything after it":                                       {changed, changed, time.Second, true, true},
		"nothing if its times have whole seconds only":              {changed, longAgo * 1_000_000_000, 1999 * time.Millisecond, false, false},
		"everything after two of them":                              {changed, longAgo * 1_000_000_000, 2 * time.Second, true, true},
		"nothing if it was changed in the future":                   {changed, changed, -time.Hour, false, false},
		"nothing new if it has been given an old time just now":     {changed - 1e18, changed, 0, false, false},
		"no time if that is in the future":                          {changed + 1e12, changed, time.Minute, true, false},
		"everything about a file from before the beginning of time": {-5_500_000_000, changed, time.Minute, true, true},
	} {
		id := identity{size: 5, modified: c.modified, changed: c.changed}
		v := id.validators(time.Unix(0, c.changed+int64(c.age)), "")
		if (v.etag != nil) != c.tag || (v.date != nil) != c.date {
			t.Errorf("%s: %q, %q", sentence, v.etag, v.date)
		}
	}
}

// age puts the clock at an age of a file.
func (r *rig) age(path string, age time.Duration) {
	r.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		r.Fatal(err)
	}
	r.frozen.Store(st.Ctim.Nano() + int64(age))
}

func TestAYoungFileHasFewerValidatorsAndTheOthersInTheEnd(t *testing.T) {
	r := newRig(t, nil)
	path := r.write("a.txt", "young")
	kept := func(want int) {
		t.Helper()
		if got := r.files.Status().Files; got != want {
			t.Errorf("%d files are kept, not %d", got, want)
		}
	}
	r.age(path, 10*time.Millisecond)
	a := r.get("/a.txt", "If-Modified-Since: "+date)
	a.is(t, "at once", 200, "ETag:", "Last-Modified:", "Accept-Ranges: bytes")
	a.says(t, "at once", "young")
	kept(0)
	r.age(path, 60*time.Millisecond)
	a = r.get("/a.txt")
	a.is(t, "after a tick", 200, "Last-Modified:")
	etag := a.Header.Get("ETag")
	if etag == "" {
		t.Error("no tag after a tick")
	}
	kept(1)
	r.age(path, time.Second)
	r.get("/a.txt").is(t, "after a second", 200, "Last-Modified: "+date, "ETag: "+etag)
	r.get("/a.txt", "If-None-Match: "+etag).is(t, "after a second", 304, "Last-Modified: "+date)
	kept(1)
}

func TestATwinIsUsedWhenItIsNoLongerYoung(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.css", text(50))
	written := time.Now()
	eventually(r, "the file is older than its twin", func() bool { return time.Since(written) > 2*clockTick })
	path := r.write("a.css.gz", "twin")
	r.age(path, 10*time.Millisecond)
	r.get("/a.css", "Accept-Encoding: gzip").says(t, "at once", text(50)) // the next one could not be told from it
	r.age(path, 5*time.Second)
	r.get("/a.css", "Accept-Encoding: gzip").is(t, "at last", 200, "Content-Encoding: gzip")
	r.age(path, 10*time.Second)
	a := r.get("/a.css", "Accept-Encoding: gzip")
	if a.Header.Get("ETag") == "" || a.Header.Get("Last-Modified") == "" {
		t.Errorf("no validators: %v", a.Header)
	}
}

func TestADigestedFileTellsItsTimeAtAnyAge(t *testing.T) {
	r := newRig(t, nil)
	path := r.write("assets/a-0123abcd.css", "asset")
	r.age(path, 0)
	r.get("/assets/a-0123abcd.css").is(t, "at once", 200, "Last-Modified: "+date, "ETag:", "Cache-Control: public, max-age=315360000, immutable")
}

func TestATimeInTheFutureIsNotTold(t *testing.T) {
	r := newRig(t, nil)
	for _, name := range []string{"a.txt", "assets/a-0123abcd.css"} {
		r.date(r.write(name, "content"), tomorrow())
		for range 2 {
			r.get("/"+name).is(t, name, 200, "Last-Modified:")
			r.get("/"+name, "If-Modified-Since: "+tomorrow().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")).is(t, name, 200)
		}
		if r.files.Status().Files == 0 {
			t.Error(name, "is not kept")
		}
	}
}

func TestAFileInAnotherTimeOfTheSameSizeIsAnother(t *testing.T) {
	r := newRig(t, nil)
	path := r.write("a.txt", "one")
	first := r.get("/a.txt")
	if err := os.WriteFile(path, []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.date(path, time.Unix(longAgo, 1))
	second := r.get("/a.txt")
	second.says(t, "in place", "two")
	if first.Header.Get("ETag") == second.Header.Get("ETag") {
		t.Error("both have the tag", first.Header.Get("ETag"))
	}
}
