package static

import (
	"testing"
)

// The rig finds out at its end whether a file is still open.
func TestNoAnswerLeavesAFileOpen(t *testing.T) {
	for what, c := range map[string]struct {
		size      int
		cacheSize int64
	}{
		"an empty file":                               {0, 1 << 20},
		"an empty file that is not kept":              {0, 0},
		"a file in memory":                            {5000, 1 << 20},
		"a file that is read each time":               {5000, 0},
		"a file too large for being read":             {copyMax + 1, 0},
		"a file of which the encoded forms are kept":  {keepMax + 1, 16 << 20},
		"a file too large for compression":            {encodeMax + 1, 16 << 20},
		"a file of which there is no room for a form": {keepMax + 1, 8 * 2 * entryCost},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.CacheSize = c.cacheSize })
			content := text(c.size)
			for _, name := range []string{"a.css", "b.bin"} {
				r.write(name, content)
				for range 2 {
					for _, method := range []string{"GET", "HEAD"} {
						for _, field := range []string{"X: none", "Accept-Encoding: gzip", "Accept-Encoding: br", "Range: bytes=1-2", "Range: bytes=1-2,4-5",
							"Range: bytes=9999999-", "If-Match: \"no\"", "If-None-Match: *", "Accept-Encoding: identity;q=0, gzip"} {
							r.files.store.clear()
							a := r.ask(method, "/"+name, field)
							if field == "X: none" && method == "GET" {
								a.says(t, name, content)
							}
							r.ask(method, "/"+name, field)
						}
					}
				}
			}
			r.noFileOpen()
		})
	}
}

func TestNoAnswerWithATwinLeavesAFileOpen(t *testing.T) {
	for _, size := range []int{0, 10, copyMax + 1, keepMax + 1} {
		r := newRig(t, nil)
		r.write("a.css", text(keepMax+1))
		r.write("a.css.gz", text(size))
		for range 2 {
			for _, method := range []string{"GET", "HEAD"} {
				r.ask(method, "/a.css", "Accept-Encoding: gzip").is(t, "a.css", 200, "Content-Encoding: gzip")
				r.ask(method, "/a.css", "Accept-Encoding: gzip", "If-None-Match: *").is(t, "a.css", 304)
			}
		}
		r.noFileOpen()
	}
}
