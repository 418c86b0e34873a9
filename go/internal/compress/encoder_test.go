package compress

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	brotli "github.com/molecule-man/go-brrr"
)

func decode(t testing.TB, c Coding, encoded []byte) string {
	t.Helper()
	var r io.Reader = bytes.NewReader(encoded)
	switch c {
	case Gzip:
		var err error
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	case Brotli:
		r = brotli.NewReader(r)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(c, err)
	}
	return string(text)
}

func TestWhatIsEncodedDecodes(t *testing.T) {
	for _, body := range []string{"", "x", page(5000), noise(5000), page(60_000)} {
		for gzipLevel := 1; gzipLevel <= 9; gzipLevel++ {
			checkBytes(t, Levels{Gzip: gzipLevel}, Gzip, body)
		}
		for level := 0; level <= 11; level++ {
			checkBytes(t, Levels{Brotli: level}, Brotli, body)
		}
		checkBytes(t, Levels{}, Identity, body)
	}
}

func checkBytes(t *testing.T, l Levels, c Coding, body string) {
	t.Helper()
	for range 2 { // with a fresh encoder, with one that has been used
		encoded, err := l.Bytes([]byte("before"), []byte(body), c)
		if err != nil || !bytes.HasPrefix(encoded, []byte("before")) {
			t.Fatalf("%v %+v: %v", c, l, err)
		}
		if got := decode(t, c, encoded[len("before"):]); got != body {
			t.Errorf("%v %+v: %d bytes become %d", c, l, len(body), len(got))
		}
	}
}

func TestEncodersAreUsedByManyAtOnce(t *testing.T) {
	l := Levels{Gzip: 5, Brotli: 4}
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for round := range 20 {
				c := Gzip + Coding((i+round)%2)
				body := page(1000 * (i + 1))
				encoded, err := l.Bytes(nil, []byte(body), c)
				if err != nil || decode(t, c, encoded) != body {
					t.Errorf("%v: %v", c, err)
				}
			}
		})
	}
	running.Wait()
}

func TestWhatTheEncodersCannotDoIsAnError(t *testing.T) {
	for name, one := range map[string]struct {
		l Levels
		c Coding
	}{
		"zstd": {Levels{5, 4}, Zstd}, "no such coding": {Levels{5, 4}, 77},
		"gzip level 0": {Levels{0, 4}, Gzip}, "gzip level 10": {Levels{10, 4}, Gzip}, "brotli level -1": {Levels{5, -1}, Brotli}, "brotli level 12": {Levels{5, 12}, Brotli},
	} {
		if out, err := one.l.Bytes([]byte("as it was"), []byte("x"), one.c); err == nil || string(out) != "as it was" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
		w := one.l.NewWriter(io.Discard, one.c)
		if _, err := w.Write([]byte("x")); err == nil || w.Flush() == nil || w.Close() == nil {
			t.Errorf("%s: the writer works", name)
		}
	}
	if _, err := (Levels{}).Bytes(nil, nil, Zstd); !errors.Is(err, ErrNoEncoder) {
		t.Errorf("%v", err)
	}
}

func TestAWriterSendsOnWhatIsFlushed(t *testing.T) {
	for _, c := range []Coding{Gzip, Brotli} {
		var out bytes.Buffer
		w := Levels{5, 4}.NewWriter(&out, c)
		if _, err := w.Write([]byte("one ")); err != nil || w.Flush() != nil || out.Len() == 0 {
			t.Fatalf("%v: %d bytes, %v", c, out.Len(), err)
		}
		if _, err := w.Write([]byte("two")); err != nil || w.Close() != nil {
			t.Fatal(c, err)
		}
		if got := decode(t, c, out.Bytes()); got != "one two" {
			t.Errorf("%v: %q", c, got)
		}
		if _, err := w.Write(nil); !errors.Is(err, os.ErrClosed) || !errors.Is(w.Flush(), os.ErrClosed) || !errors.Is(w.Close(), os.ErrClosed) {
			t.Errorf("%v: usable after Close", c)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestAFailingWriterLeavesNoTraceInTheNext(t *testing.T) {
	for _, c := range []Coding{Gzip, Brotli} {
		w := Levels{5, 4}.NewWriter(full{}, c)
		_, err := w.Write([]byte("lost"))
		if err := errors.Join(err, w.Flush()); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%v: %v", c, err)
		}
		if err := w.Close(); err == nil {
			t.Errorf("%v: closed without error", c)
		}
		encoded, err := Levels{5, 4}.Bytes(nil, []byte("found"), c)
		if err != nil || decode(t, c, encoded) != "found" {
			t.Errorf("%v: %q, %v", c, encoded, err)
		}
	}
}

// BenchmarkBytes: MB/s of the body, and by how much it shrinks.
func BenchmarkBytes(b *testing.B) {
	json := `[` + strings.TrimSuffix(strings.Repeat(`{"id":1234,"title":"A title","price":12.5,"tags":["a","b"],"created_at":"2024-05-06T07:08:09Z"},`, 50), ",") + `]`
	for _, body := range []struct{ name, text string }{{"html_1KB", page(800)}, {"html_30KB", page(30 << 10)}, {"html_300KB", page(300 << 10)}, {"json_5KB", json}} {
		for _, level := range []struct {
			name string
			l    Levels
			c    Coding
		}{{"gzip_5", Levels{5, 4}, Gzip}, {"br_4", Levels{5, 4}, Brotli}, {"br_5", Levels{5, 5}, Brotli}} {
			b.Run(body.name+"/"+level.name, func(b *testing.B) {
				src, dst := []byte(body.text), []byte(nil)
				b.SetBytes(int64(len(src)))
				b.ReportAllocs()
				for b.Loop() {
					var err error
					if dst, err = level.l.Bytes(dst[:0], src, level.c); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(src))/float64(len(dst)), "ratio")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(src))*1024/1000, "µs/KB")
			})
		}
	}
}
