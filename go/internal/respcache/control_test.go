package respcache

import (
	"testing"
	"time"
)

func TestDirectives(t *testing.T) {
	parse := func(lines ...string) control {
		c := newControl()
		for _, l := range lines {
			c.parse([]byte(l))
		}
		return c
	}
	for name, c := range map[string]struct {
		got  control
		want func(*control)
	}{
		"all that requests know": {parse("no-cache, no-store,max-age=1 , min-fresh=2, max-stale=3,only-if-cached"), func(c *control) {
			c.noCache, c.noStore, c.onlyIfCached = true, true, true
			c.maxAge, c.minFresh, c.maxStale = time.Second, 2*time.Second, 3*time.Second
		}},
		"all that responses know": {parse("public, private, must-revalidate, proxy-revalidate, s-maxage=1, stale-while-revalidate=2, stale-if-error=3"), func(c *control) {
			c.public, c.private, c.mustRevalidate, c.proxyRevalidate = true, true, true, true
			c.sMaxAge, c.staleWhileRevalidate, c.staleIfError = time.Second, 2*time.Second, 3*time.Second
		}},
		"max-stale without a value":    {parse("max-stale"), func(c *control) { c.maxStale = maxDelta * time.Second }},
		"max-stale with a wrong value": {parse("max-stale=x"), func(c *control) { c.maxStale = 0 }},
		"a huge number":                {parse("max-age=99999999999999999999"), func(c *control) { c.maxAge = maxDelta * time.Second }},
		"a negative number":            {parse("max-age=-1"), func(c *control) { c.maxAge = 0 }},
		"no number":                    {parse("max-age, s-maxage="), func(c *control) { c.maxAge, c.sMaxAge = 0, 0 }},
		"blanks around the sign":       {parse("max-age = 5"), func(c *control) { c.maxAge = 5 * time.Second }},
		"several lines":                {parse("max-age=5", "", ",, no-cache"), func(c *control) { c.maxAge, c.noCache = 5*time.Second, true }},
		"unknown ones":                 {parse(`x, y=1, z="a,no-store", max-age2=3, xno-store`), func(*control) {}},
		"an escaped quote":             {parse(`z="\"no-store", public`), func(c *control) { c.public = true }},
		"a quote without end":          {parse(`z="public`), func(c *control) { c.malformed = true }},
		"a quote in a token":           {parse(`z=a"b, public`), func(c *control) { c.malformed = true }},
	} {
		want := newControl()
		want.present = true
		c.want(&want)
		if c.got != want {
			t.Errorf("%s: %+v", name, c.got)
		}
	}
}

func FuzzControl(f *testing.F) {
	for _, s := range []string{"max-age=60, public", `private="x, y", no-cache`, `a="\`, "max-stale", "=,=\"\"", "max-age=\t9 ,S-MAXAGE=\"3\"", "max-age=99999999999999999999999"} {
		f.Add(s, "no-store")
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		c := newControl()
		c.parse([]byte(one))
		alone := c
		c.parse([]byte(other))
		// What a second line adds can only make the cache more careful.
		if alone.noStore && !c.noStore || alone.private && !c.private || alone.noCache && !c.noCache || alone.malformed && !c.malformed || alone.maxAge >= 0 && c.maxAge > alone.maxAge {
			t.Errorf("%q, then %q: %+v, then %+v", one, other, alone, c)
		}
		for _, d := range []time.Duration{c.maxAge, c.sMaxAge, c.minFresh, c.maxStale, c.staleIfError, c.staleWhileRevalidate} {
			if d < -1 || d > maxDelta*time.Second {
				t.Errorf("%q, %q: %v", one, other, d)
			}
		}
		// A directive that stands by itself is always seen.
		c = newControl()
		c.parse([]byte("no-store, " + one))
		if !c.noStore {
			t.Errorf("%q hides no-store", one)
		}
	})
}

func FuzzMatches(f *testing.F) {
	f.Add(`W/"a", "b"`, `"b"`)
	f.Add(`*`, `"b"`)
	f.Fuzz(func(t *testing.T, list, tag string) {
		if matches([]byte(list), nil) && matches([]byte(list), []byte(tag)) == false {
			t.Errorf("%q matches nothing but not %q", list, tag)
		}
	})
}
