package static

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"passenger/go/internal/compress"
)

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestWhichTwinIsSent(t *testing.T) {
	r := newRig(t, nil)
	content := text(5000)
	r.write("all.css", content)
	for _, suffix := range []string{"br", "zst", "gz"} {
		r.write("all.css."+suffix, suffix)
	}
	r.write("only.css", content)
	r.write("only.css.gz", "gz")
	r.write("small.css", "small")
	r.write("small.css.gz", "gz")
	r.write("picture.png", content)
	r.write("picture.png.gz", "gz")
	r.writeTo(r.pages+"/page.html", "page")
	r.writeTo(r.pages+"/page.html.gz", "gz")
	r.write("old.css", "new")
	r.date(r.write("old.css.gz", "old"), time.Unix(longAgo-1, 0))
	r.date(r.write("same.css", "new"), time.Unix(longAgo, 123_456_789))
	r.date(r.write("same.css.gz", "gz"), time.Unix(longAgo, 123_456_000)) // by a tool that knows microseconds
	r.write("dir.css", "file")
	if err := os.Mkdir(r.dir+"/dir.css.gz", 0o755); err != nil {
		t.Fatal(err)
	}
	r.write("out.css", "file")
	if err := os.Symlink("/etc/passwd", r.dir+"/out.css.gz"); err != nil {
		t.Fatal(err)
	}
	for sentence, c := range map[string]struct{ target, accept, body string }{
		"none without the field":                    {"/all.css", "", content},
		"the best that is accepted":                 {"/all.css", "gzip, deflate, br, zstd", "br"},
		"the one that is accepted":                  {"/all.css", "zstd", "zst"},
		"the one that is preferred":                 {"/all.css", "gzip, br;q=0.9, zstd;q=0.8", "gz"},
		"none that is refused":                      {"/all.css", "gzip, br;q=0, zstd;q=0", "gz"},
		"none if the file itself is preferred":      {"/all.css", "gzip;q=0.5, identity", content},
		"any":                                       {"/all.css", "*", "br"},
		"any but the file itself":                   {"/all.css", "identity;q=0, *;q=0.1", "br"},
		"the file if nothing is accepted":           {"/all.css", "identity;q=0", content},
		"the only one that there is":                {"/only.css", "br, gzip", "gz"},
		"that of a small file":                      {"/small.css", "gzip", "gz"},
		"none for what is compressed in itself":     {"/picture.png", "gzip", content},
		"that of a page":                            {"/page", "gzip", "gz"},
		"that of a page by its name":                {"/page.html", "gzip", "gz"},
		"none that is older":                        {"/old.css", "gzip", "new"},
		"one that is older by what clocks disagree": {"/same.css", "gzip", "gz"},
		"none that is a directory":                  {"/dir.css", "gzip", "file"},
		"none that lies elsewhere":                  {"/out.css", "gzip", "file"},
		"none by its own name":                      {"/all.css.gz", "gzip", "gz"},
	} {
		for range 2 {
			fields := []string{"X: y"}
			if c.accept != "" {
				fields = []string{"Accept-Encoding: " + c.accept}
			}
			a := r.get(c.target, fields...)
			a.says(t, sentence, c.body)
			coding := map[string]string{"br": "br", "zst": "zstd", "gz": "gzip"}[c.body]
			if c.target == "/all.css.gz" {
				coding = ""
			}
			a.is(t, sentence, 200, "Content-Encoding: "+coding)
			if strings.HasPrefix(c.target, "/all.css") && c.target != "/all.css.gz" || c.target == "/small.css" || c.target == "/page" {
				a.is(t, sentence, 200, "Vary: Accept-Encoding")
			}
		}
	}
	r.ask("HEAD", "/all.css", "Accept-Encoding: br").is(t, "HEAD", 200, "Content-Length: 2", "Content-Encoding: br")
	if a, b := r.get("/all.css", "Accept-Encoding: br"), r.get("/all.css", "Accept-Encoding: gzip"); a.Header.Get("ETag") == b.Header.Get("ETag") {
		t.Error("two forms have the same tag")
	}
}

// Caches must know even before anybody has accepted anything.
func TestAFileWithATwinVariesForWhoAcceptsNothing(t *testing.T) {
	for _, cacheSize := range []int64{0, 1 << 20} {
		r := newRig(t, func(o *Options) { o.CacheSize = cacheSize })
		r.write("small.css", "small")
		r.write("small.css.gz", "twin")
		r.write("large.css", text(encodeMax+1))
		r.write("large.css.br", "twin")
		r.write("alone.css", "alone")
		r.get("/small.css").is(t, "small", 200, "Vary: Accept-Encoding")
		r.get("/large.css", "Range: bytes=0-0", "Accept-Encoding: br").is(t, "large", 206, "Vary: Accept-Encoding")
		r.get("/alone.css").is(t, "alone", 200, "Vary:")
	}
}

func TestATwinThatComesChangesAndGoes(t *testing.T) {
	r := newRig(t, nil)
	content := text(5000)
	r.write("a.css", content)
	gz := []string{"Accept-Encoding: zstd"} // which is never made here
	r.get("/a.css", gz...).says(t, "without a twin", content)
	path := r.write("a.css.zst", "first")
	r.advance(2 * probeInterval)
	r.get("/a.css", gz...).says(t, "with a twin", "first")
	r.writeTo(path, "second")
	r.get("/a.css", gz...).says(t, "with a changed twin, at once", content)
	r.advance(2 * probeInterval)
	r.get("/a.css", gz...).says(t, "with a changed twin", "second")
	r.writeTo(path+".new", "third!")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	r.advance(2 * probeInterval)
	r.get("/a.css", gz...).says(t, "with a twin that took its place", "third!")
	remove(t, path)
	r.get("/a.css", gz...).says(t, "after its removal", content)
	r.writeTo(path, "fourth")
	r.date(r.write("a.css", "changed"), time.Unix(longAgo+1, 0))
	r.advance(2 * probeInterval)
	r.get("/a.css", gz...).says(t, "with a twin of an older file", "changed")
}

// Twins that are not kept in memory are opened each time.
func TestATwinThatIsBeingWrittenDoesNotHideItsFile(t *testing.T) {
	r := newRig(t, nil)
	content := text(2 * keepMax)
	r.write("a.css", content)
	twin := text(keepMax + 1)
	path := r.write("a.css.zst", twin)
	r.get("/a.css", "Accept-Encoding: zstd").says(t, "before", twin)
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.get("/a.css", "Accept-Encoding: zstd").says(t, "meanwhile", content)
	writer.Close()
	r.advance(2 * probeInterval)
	r.get("/a.css", "Accept-Encoding: zstd").says(t, "afterwards", twin)
}

func TestATwinThatIsNoSmallerIsNotUsed(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.css", text(100))
	r.write("a.css.gz", text(100))
	r.get("/a.css", "Accept-Encoding: gzip").says(t, "as large", text(100))
}

func TestWeightsDecideBetweenATwinAndWhatCanBeMade(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.css", text(5000))
	r.write("a.css.gz", "twin")
	for accept, coding := range map[string]string{
		"gzip, br": "gzip", "gzip;q=0.5, br": "br", "gzip, br;q=0.5": "gzip", "br": "br", "gzip;q=0, br;q=0.1, identity;q=0.5": "", "identity, gzip;q=0.5": "",
	} {
		if got := r.get("/a.css", "Accept-Encoding: "+accept).Header.Get("Content-Encoding"); got != coding {
			t.Errorf("%s: %q", accept, got)
		}
	}
}

func TestTextIsEncodedOnce(t *testing.T) {
	for _, size := range []int{500, 5000, keepMax + 1, encodeMax} {
		r := newRig(t, nil)
		content := text(size)
		r.write("a.css", content)
		etag := r.get("/a.css").Header.Get("ETag")
		for range 3 {
			a := r.get("/a.css", "Accept-Encoding: gzip")
			a.is(t, "gzip", 200, "Content-Encoding: gzip", "Vary: Accept-Encoding", "ETag: W/"+etag, "Accept-Ranges:", "Last-Modified: "+date)
			z, err := gzip.NewReader(strings.NewReader(a.body))
			if err != nil {
				t.Fatal(err)
			}
			if decoded, err := io.ReadAll(z); err != nil || string(decoded) != content {
				t.Errorf("%d bytes: %v", len(decoded), err)
			}
			r.get("/a.css", "Accept-Encoding: br, gzip").is(t, "br", 200, "Content-Encoding: br", "ETag: W/"+etag)
			r.get("/a.css", "Accept-Encoding: br", "If-None-Match: W/"+etag).is(t, "br", 304, "ETag: W/"+etag, "Content-Encoding:")
			r.get("/a.css", "Accept-Encoding: br", "If-None-Match: "+etag).is(t, "br", 304)
			r.get("/a.css", "Accept-Encoding: br", "If-Match: "+etag).is(t, "br", 412)
			r.get("/a.css", "Accept-Encoding: br", "Range: bytes=0-0", "If-Range: "+etag).is(t, "part", 206, "Content-Encoding:")
			r.get("/a.css", "Accept-Encoding: br, identity;q=0", "Range: bytes=0-0").is(t, "part", 200, "Content-Encoding: br")
		}
		if n := r.encoded.Load(); n != 2 {
			t.Errorf("%d bytes were encoded %d times", size, n)
		}
	}
}

func TestWhatIsNotEncoded(t *testing.T) {
	for sentence, c := range map[string]struct {
		name   string
		size   int
		adapt  func(*Options)
		varies string
		tries  int64
	}{
		"what is too small":                  {"a.css", rigMinSize - 1, nil, "", 0},
		"what is too large":                  {"a.css", encodeMax + 1, nil, "", 0},
		"what is compressed in itself":       {"a.png", 5000, nil, "", 0},
		"anything if that is not wanted":     {"a.css", 5000, func(o *Options) { o.Compression = false }, "", 0},
		"what is not kept":                   {"a.css", 5000, func(o *Options) { o.CacheSize = 0 }, "Accept-Encoding", 0},
		"what has no room in memory encoded": {"a.css", keepMax + 1, func(o *Options) { o.CacheSize = 8 * 2 * entryCost }, "Accept-Encoding", 1},
		"what does not become smaller": {"a.css", 5000, func(o *Options) {
			encode := o.Encode
			o.Encode = func(dst, src []byte, c compress.Coding) ([]byte, error) {
				encode(dst, src, c)
				return bytes.Clone(src), nil
			}
		}, "Accept-Encoding", 1},
		"what cannot be": {"a.css", 5000, func(o *Options) {
			encode := o.Encode
			o.Encode = func(dst, src []byte, c compress.Coding) ([]byte, error) {
				encode(dst, src, c)
				return nil, io.ErrShortBuffer
			}
		}, "Accept-Encoding", 1},
	} {
		r := newRig(t, c.adapt)
		content := text(c.size)
		r.write(c.name, content)
		for range 3 {
			a := r.get("/"+c.name, "Accept-Encoding: gzip")
			a.says(t, sentence, content)
			a.is(t, sentence, 200, "Content-Encoding:", "Vary: "+c.varies, "Accept-Ranges: bytes")
		}
		if n := r.encoded.Load(); n != c.tries {
			t.Errorf("%s: was encoded %d times, not %d", sentence, n, c.tries)
		}
	}
}

func TestTwinsAreNotSentWithoutCompression(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Compression = false })
	r.write("a.css", "file")
	r.write("a.css.gz", "twin")
	a := r.get("/a.css", "Accept-Encoding: gzip")
	a.says(t, "a.css", "file")
	a.is(t, "a.css", 200, "Vary:")
}

func TestNobodyWaitsForAFormThatIsBeingMade(t *testing.T) {
	making, made := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r := newRig(t, func(o *Options) {
		encode := o.Encode
		o.Encode = func(dst, src []byte, c compress.Coding) ([]byte, error) {
			once.Do(func() { close(making); <-made })
			return encode(dst, src, c)
		}
	})
	content := text(5000)
	r.write("a.css", content)
	first := make(chan answer)
	go func() { first <- dialed(r).get("/a.css", "Accept-Encoding: gzip") }()
	<-making
	r.get("/a.css", "Accept-Encoding: gzip").says(t, "meanwhile", content)
	close(made)
	(<-first).is(t, "the first", 200, "Content-Encoding: gzip")
	r.get("/a.css", "Accept-Encoding: gzip").is(t, "afterwards", 200, "Content-Encoding: gzip")
	if n := r.encoded.Load(); n != 1 {
		t.Errorf("it was made %d times", n)
	}
}

func TestATwinThatHasChangedIsNotSentInPlaceOfWhatCannotBeMade(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Encode = func(dst, src []byte, c compress.Coding) ([]byte, error) { return nil, io.ErrShortBuffer }
	})
	content := text(5000)
	r.write("a.css", content)
	path := r.write("a.css.gz", "first")
	ask := func() answer { return r.get("/a.css", "Accept-Encoding: gzip;q=0.5, br") }
	ask().says(t, "as it is", "first")
	r.writeTo(path, "second")
	ask().says(t, "changed", content)
	r.advance(2 * probeInterval)
	ask().says(t, "found again", "second")
}
