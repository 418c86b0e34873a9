package respcache

import "time"

// maxDelta caps delta-seconds, in seconds (RFC 9111 §1.2.2 wants at least 2^31).
const maxDelta = 1 << 31

// control is what the Cache-Control fields of one message say (RFC 9111 §5.2,
// RFC 5861). Durations are -1 where the directive is missing.
type control struct {
	present         bool // there was a field, whatever it said
	noStore         bool
	noCache         bool // with or without field names
	private         bool // with or without field names
	public          bool
	mustRevalidate  bool
	proxyRevalidate bool
	onlyIfCached    bool
	malformed       bool // cannot be relied on

	maxAge               time.Duration
	sMaxAge              time.Duration
	minFresh             time.Duration
	maxStale             time.Duration // without a value: as long as there is
	staleWhileRevalidate time.Duration
	staleIfError         time.Duration
}

func newControl() control {
	return control{maxAge: -1, sMaxAge: -1, minFresh: -1, maxStale: -1, staleWhileRevalidate: -1, staleIfError: -1}
}

// parse adds one field line. What is not understood is skipped, but a quoted
// string that does not end could hide anything, so it spoils the whole.
func (c *control) parse(line []byte) {
	c.present = true
	for i := 0; i < len(line); {
		if b := line[i]; b == ',' || b == ' ' || b == '\t' {
			i++
			continue
		}
		start := i
		for i < len(line) && line[i] != ',' && line[i] != '=' && line[i] != ' ' && line[i] != '\t' {
			i++
		}
		name := line[start:i]
		i = skipBlanks(line, i)
		var value []byte
		valued := i < len(line) && line[i] == '='
		if valued {
			i = skipBlanks(line, i+1)
			var ok bool
			if value, i, ok = directiveValue(line, i); !ok {
				c.malformed = true
			}
		}
		c.set(name, value, valued)
	}
}

func skipBlanks(line []byte, i int) int {
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	return i
}

// directiveValue reads a token or a quoted string; of the latter what is
// between the quotes.
func directiveValue(line []byte, i int) (value []byte, next int, ok bool) {
	if i == len(line) || line[i] != '"' {
		start := i
		for i < len(line) && line[i] != ',' {
			if line[i] == '"' {
				return nil, len(line), false
			}
			i++
		}
		end := i
		for end > start && (line[end-1] == ' ' || line[end-1] == '\t') {
			end--
		}
		return line[start:end], i, true
	}
	i++
	start := i
	for i < len(line) {
		switch line[i] {
		case '\\':
			i++
		case '"':
			return line[start:i], i + 1, true
		}
		i++
	}
	return nil, len(line), false
}

func (c *control) set(name, value []byte, valued bool) {
	switch len(name) {
	case 6:
		c.public = c.public || foldEqual(name, "public")
	case 7:
		switch {
		case foldEqual(name, "private"):
			c.private = true
		case foldEqual(name, "max-age"):
			lower(&c.maxAge, value)
		}
	case 8:
		switch {
		case foldEqual(name, "no-store"):
			c.noStore = true
		case foldEqual(name, "no-cache"):
			c.noCache = true
		case foldEqual(name, "s-maxage"):
			lower(&c.sMaxAge, value)
		}
	case 9:
		switch {
		case foldEqual(name, "min-fresh"):
			c.minFresh = max(c.minFresh, seconds(value, maxDelta))
		case foldEqual(name, "max-stale"):
			if !valued {
				c.maxStale = max(c.maxStale, maxDelta*time.Second)
			} else {
				c.maxStale = max(c.maxStale, seconds(value, 0))
			}
		}
	case 14:
		switch {
		case foldEqual(name, "only-if-cached"):
			c.onlyIfCached = true
		case foldEqual(name, "stale-if-error"):
			lower(&c.staleIfError, value)
		}
	case 15:
		c.mustRevalidate = c.mustRevalidate || foldEqual(name, "must-revalidate")
	case 16:
		c.proxyRevalidate = c.proxyRevalidate || foldEqual(name, "proxy-revalidate")
	case 22:
		if foldEqual(name, "stale-while-revalidate") {
			lower(&c.staleWhileRevalidate, value)
		}
	}
}

// lower keeps the smallest of several values: RFC 9111 §4.2.1 leaves the
// choice, and the smallest is safe. What is no number counts as 0.
func lower(d *time.Duration, value []byte) {
	if v := seconds(value, 0); *d < 0 || v < *d {
		*d = v
	}
}

// seconds reads delta-seconds; other is taken for what is none.
func seconds(value []byte, other int64) time.Duration {
	n := int64(0)
	for _, b := range value {
		if b < '0' || b > '9' {
			return time.Duration(other) * time.Second
		}
		n = min(n*10+int64(b-'0'), maxDelta)
	}
	if len(value) == 0 {
		n = other
	}
	return time.Duration(n) * time.Second
}

// foldEqual compares with a name that is written in small letters.
func foldEqual(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
