package respcache

import (
	"bytes"
	"errors"
	"hash/maphash"
	"net/http"
	"net/url"
	"strings"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// Purge says what to remove. Exactly one of its fields is to be set.
type Purge struct {
	// URL is one page with its query: http://example.org/posts?page=2, where the
	// scheme may be missing (both are meant in any case), or only
	// /posts?page=2, for all hosts. All variants are removed.
	URL string `json:"url,omitempty"`
	// Prefix is the beginning of such URLs, with or without a host. /posts
	// means /posts, /posts/1, /posts?page=2 and /posts-archive.
	Prefix string `json:"prefix,omitempty"`
	// Host is all of one host, with the port if it is part of the Host header.
	Host string `json:"host,omitempty"`
	// All is everything.
	All bool `json:"all,omitempty"`
}

// ErrPurge is a Purge that does not say what to remove.
var ErrPurge = errors.New(`a purge needs exactly one of "url", "prefix", "host" and "all": true; url and prefix begin with a host or a slash`)

// Check returns ErrPurge for what cannot be carried out.
func (q Purge) Check() error {
	n := 0
	for _, given := range []bool{q.URL != "", q.Prefix != "", q.Host != "", q.All} {
		if given {
			n++
		}
	}
	if n != 1 || strings.ContainsAny(q.Host, "/?# ") || location(q.URL+q.Prefix) == "" && q.Host == "" && !q.All {
		return ErrPurge
	}
	return nil
}

// location brings a URL into the form of the keys: authority in small letters
// and target, or the target alone.
func location(url string) string {
	url, _, _ = strings.Cut(url, "#")
	if i := strings.Index(url, "://"); i >= 0 && !strings.ContainsAny(url[:i], "/?") {
		url = url[i+len("://"):]
	} else if strings.HasPrefix(url, "//") {
		url = url[len("//"):]
	}
	i := strings.IndexAny(url, "/?")
	switch {
	case i < 0 && url != "":
		return strings.ToLower(url) + "/"
	case i > 0 && url[i] == '?':
		return strings.ToLower(url[:i]) + "/" + url[i:]
	case i > 0:
		return strings.ToLower(url[:i]) + url[i:]
	case strings.HasPrefix(url, "/"):
		return url
	}
	return ""
}

// Purge removes what q says and returns how many responses that were. What is
// on its way from the app at this moment is not stored any more. A Purge that
// Check refuses removes nothing.
func (c *Cache) Purge(q Purge) int {
	if q.Check() != nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	switch {
	case q.URL != "" && location(q.URL)[0] != '/':
		n = c.invalidate([]byte(location(q.URL)))
	case q.URL != "":
		want := location(q.URL)
		n = c.purgeIf(func(host, target string) bool { return target == want })
	case q.Prefix != "":
		want := location(q.Prefix)
		n = c.purgeIf(func(host, target string) bool {
			if want[0] == '/' {
				return strings.HasPrefix(target, want)
			}
			i := strings.IndexByte(want, '/')
			return host == want[:i] && strings.HasPrefix(target, want[i:])
		})
	case q.Host != "":
		want := strings.ToLower(q.Host)
		n = c.purgeIf(func(host, target string) bool { return host == want })
	default:
		n = c.purgeIf(func(host, target string) bool { return true })
	}
	c.counts.purges++
	return n
}

// purgeIf removes all URLs for which f is true.
func (c *Cache) purgeIf(f func(host, target string) bool) (n int) {
	c.purged++
	for _, r := range c.table.resources {
		i := strings.IndexByte(r.url, '/')
		if f(r.url[:i], r.url[i:]) {
			n += c.table.removeAll(r)
		}
	}
	return n
}

// invalidate removes all variants of one URL, both schemes, and overtakes the
// responses that are on their way.
func (c *Cache) invalidate(url []byte) int {
	home := maphash.Bytes(c.seed, url)
	c.epochs[home%epochSlots]++
	if r := c.table.resource(home, url); r != nil {
		return c.table.removeAll(r)
	}
	return 0
}

// written invalidates what an unsafe request has changed (RFC 9111 §4.4).
func (c *Cache) written(x *httpd.Exchange) {
	status := x.Ctx.Response.StatusCode()
	if status < http.StatusOK || status >= http.StatusBadRequest || len(x.Host) == 0 {
		return
	}
	p := c.probes.Get().(*probe)
	defer c.release(p)
	p.key = appendURL(p.key[:0], x.Host, x.Target)
	c.change(p.key)
	for name, value := range x.Ctx.Response.Header.All() {
		if foldEqual(name, "location") || foldEqual(name, "content-location") {
			if target := sameHost(x, value); len(target) > 0 {
				p.key = appendURL(p.key[:0], x.Host, target)
				c.change(p.key)
			}
		}
	}
}

func (c *Cache) change(url []byte) {
	c.mu.Lock()
	c.counts.invalidations += uint64(c.invalidate(url))
	c.mu.Unlock()
}

// sameHost returns the target of a URL reference if it leads to the host of the
// request, by either of the names that a proxy gives it; nil otherwise.
func sameHost(x *httpd.Exchange, reference []byte) []byte {
	reference, _, _ = bytes.Cut(reference, []byte("#"))
	rest, absolute := bytes.CutPrefix(reference, []byte("//"))
	if !absolute {
		var scheme []byte
		scheme, rest, absolute = bytes.Cut(reference, []byte("://"))
		absolute = absolute && (foldEqual(scheme, "http") || foldEqual(scheme, "https"))
	}
	if absolute {
		i := bytes.IndexByte(rest, '/')
		if i < 0 {
			rest = append(bytes.Clone(rest), '/')
			i = len(rest) - 1
		}
		if host := rest[:i]; bytes.EqualFold(host, x.Host) || forwardedHost(x, host) {
			return rest[i:]
		}
		return nil
	}
	if len(reference) > 0 && reference[0] == '/' {
		return reference
	}
	base, err := url.ParseRequestURI(string(x.Target))
	if err != nil {
		return nil
	}
	u, err := base.Parse(string(reference))
	if err != nil || u.Host != "" || u.Scheme != "" {
		return nil
	}
	return []byte(u.RequestURI())
}

var keyForwardedHost = link.LookupEnvKey([]byte("HTTP_X_FORWARDED_HOST"))

func forwardedHost(x *httpd.Exchange, host []byte) bool {
	value, ok := x.Field(keyForwardedHost)
	return ok && bytes.EqualFold(value, host)
}

// Status is what the cache has done since it was made.
type Status struct {
	Entries       int     `json:"entries"`
	Bytes         int64   `json:"bytes"`
	BytesLimit    int64   `json:"bytes_limit"`
	Hits          uint64  `json:"hits"`          // answered with a fresh response
	StaleHits     uint64  `json:"stale_hits"`    // answered with a stale one
	Misses        uint64  `json:"misses"`        // asked of the app
	Bypassed      uint64  `json:"bypassed"`      // GET and HEAD that go past the cache
	Coalesced     uint64  `json:"coalesced"`     // hits that had waited for another request
	Stores        uint64  `json:"stores"`        // responses stored
	Refreshes     uint64  `json:"refreshes"`     // stale responses asked for again
	Purges        uint64  `json:"purges"`        // calls of Purge
	Invalidations uint64  `json:"invalidations"` // responses removed because of a POST and the like
	Evictions     uint64  `json:"evictions"`     // responses removed for want of room
	HitRatio      float64 `json:"hit_ratio"`     // hits, stale ones too, of hits and misses; 0 to 1
}

// Status reports what the cache holds and has done.
func (c *Cache) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		Entries:       len(c.table.entries),
		Bytes:         c.table.bytes,
		BytesLimit:    c.table.limit,
		Hits:          c.counts.hits,
		StaleHits:     c.counts.stale,
		Misses:        c.counts.misses,
		Bypassed:      c.bypassed.Load(),
		Coalesced:     c.counts.coalesced,
		Stores:        c.counts.stores,
		Refreshes:     c.counts.refreshes,
		Purges:        c.counts.purges,
		Invalidations: c.counts.invalidations,
		Evictions:     c.table.evictions,
	}
	if all := s.Hits + s.StaleHits + s.Misses; all > 0 {
		s.HitRatio = float64(s.Hits+s.StaleHits) / float64(all)
	}
	return s
}
