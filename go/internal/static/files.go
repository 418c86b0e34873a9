// Package static serves files: those of the app's public directory and its
// cached pages, by URL, and those that the app names as the body of a response.
// See docs/static-files.md.
package static

import (
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/compress"
	"passenger/go/internal/httpd"
)

// Options of the service; all sizes in bytes.
type Options struct {
	CacheSize   int64 // of the files kept in memory; 0: none are
	Compression bool
	MinSize     int // smaller files are not compressed
	// Encode appends the encoded form of src to dst.
	Encode func(dst, src []byte, c compress.Coding) ([]byte, error)
	Log    *slog.Logger
}

const (
	// keepMax is the largest body that is kept in memory; larger ones are sent
	// by sendfile, which costs little then.
	keepMax = 256 << 10
	// copyMax is the largest file that is read for a single response.
	copyMax = 64 << 10
	// encodeMax is the largest file that is compressed.
	encodeMax = 4 << 20
	// probeInterval is how long it may take until a new precompressed file is noticed.
	probeInterval = time.Second
)

// Files serves the files of a site.
type Files struct {
	options Options
	site    atomic.Pointer[Site]
	store   *store
	lookups sync.Pool
	grumble *grumbler
	stats   stats
	now     func() time.Time
}

// New makes the service for a site.
func New(o Options, site *Site) *Files {
	f := &Files{options: o, store: newStore(o.CacheSize), grumble: newGrumbler(o.Log), stats: stats{quick: allLocal()}, now: time.Now}
	f.lookups.New = func() any { return &lookup{decoded: make([]byte, 0, 256)} }
	f.site.Store(site)
	return f
}

// Use changes to another site.
func (f *Files) Use(site *Site) {
	f.site.Store(site)
	f.store.clear()
}

// Status tells about the files kept in memory.
func (f *Files) Status() Status { return f.store.status() }

// Handler answers GET and HEAD requests for files and cached pages; every other
// request goes on to next. Unlike Passenger with nginx, a POST to the name of a
// file reaches the app.
func (f *Files) Handler(next httpd.Handler) httpd.Handler {
	return func(x *httpd.Exchange) {
		if m := string(x.Method); m != http.MethodGet && m != http.MethodHead || !f.serve(x) {
			next(x)
		}
	}
}

// lookup is the memory that looking up a file needs.
type lookup struct {
	decoded    []byte
	name       []byte // absolute path with a NUL byte at its end
	candidates []candidate
	st         unix.Stat_t
}

// look finds out which files a URL path may stand for.
func (l *lookup) look(site *Site, path []byte) (place, bool) {
	if len(site.Prefix) > 0 {
		path = below(path, site.Prefix)
	}
	p, ok := locate(l.decoded, path)
	if p.path != nil {
		l.decoded = p.path
	}
	if ok {
		l.candidates = site.candidates(l.candidates, p)
	}
	return p, ok
}

func (f *Files) serve(x *httpd.Exchange) bool {
	l := f.lookups.Get().(*lookup)
	served := f.find(x, l)
	f.lookups.Put(l)
	return served
}

// find looks for the file of a request and answers with it.
func (f *Files) find(x *httpd.Exchange, l *lookup) bool {
	site := f.site.Load()
	p, ok := l.look(site, x.Path)
	if !ok {
		return false
	}
	for _, c := range l.candidates {
		l.name = append(c.appendName(l.name[:0], p), 0)
		// A file that changes between two looks at it is looked at again.
		for range 3 {
			if !f.stats.regular(l.name, &l.st) {
				break
			}
			done, err := f.serveFile(x, l, site, c, p)
			if done {
				return true
			}
			if err == nil {
				continue
			}
			if !missing(err) {
				f.grumble.about(string(l.name[:len(l.name)-1]), err)
				return false
			}
			break
		}
	}
	return false
}

func missing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENAMETOOLONG)
}

// serveFile answers with the file at l.name, of which l.st is known. Neither
// done nor an error: the file has changed meanwhile.
func (f *Files) serveFile(x *httpd.Exchange, l *lookup, site *Site, c candidate, p place) (done bool, err error) {
	id := identify(&l.st)
	if e := f.store.get(l.name[:len(l.name)-1]); e != nil {
		if e.identity == id && !e.outgrown(f.now) {
			f.store.hits.Add(1)
			return f.answer(x, e, nil, c.root)
		}
		f.store.remove(e)
	}
	f.store.misses.Add(1)
	now := f.now()
	file, err := c.root.Open(string(l.name[:len(l.name)-1]))
	if err != nil {
		return false, err
	}
	e := &entry{name: file.name, contentType: contentType(file.name)}
	e.identity = file.identity
	e.codable = f.options.Compression && compress.Compressible([]byte(e.contentType))
	if e.digested = c.whole && site.digested(p.path); e.digested {
		e.setModified(e.modified, now)
	} else {
		e.validators, e.young = e.identity.validators(now, ""), e.identity.young(now)
	}
	if err := f.read(x, e, file, now); err != nil {
		file.Close()
		return false, ignoreChanged(err)
	}
	if e.body != nil {
		file.Close()
		file = nil
	}
	return f.answer(x, e, file, c.root)
}

// read takes the content of a small file into memory, and the entry into the
// store if it will be worth it. Nobody writes to the file at that time.
func (f *Files) read(x *httpd.Exchange, e *entry, file *File, now time.Time) error {
	thaw, err := file.freeze(now)
	if err != nil {
		return err
	}
	defer thaw()
	// What was written between opening and freezing does not count.
	if err := file.refresh(); err != nil {
		return err
	}
	if file.identity != e.identity {
		return errChanged
	}
	body := e.size
	if body > keepMax {
		body = 0 // what may be kept of it are its encoded forms
	}
	keep := e.settled(now) && (e.size <= keepMax || e.codable && e.size <= encodeMax) && f.store.admits(e.name, body)
	switch {
	case keep && e.size <= keepMax:
		e.body = make([]byte, e.size)
	case e.size <= copyMax:
		e.borrowed = true
		e.body = resize(x.Ctx.Response.SwapBody(nil), int(e.size))
	}
	if e.body != nil {
		if err := file.readAll(e.body); err != nil {
			return err
		}
	}
	if keep {
		f.store.put(e)
	}
	return nil
}

// resize is b with another length, never nil.
func resize(b []byte, n int) []byte {
	if b == nil || cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
