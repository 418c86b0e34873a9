package static

import "bytes"

// wellKnown is the one name with a leading dot that is public (RFC 8615).
const wellKnown = ".well-known"

// place is where a URL path leads to below a root: the decoded path, which
// begins with a slash.
type place struct {
	path      []byte
	directory bool // it ends in a slash
	extension bool // the last segment has one
}

// locate decodes a raw URL path into buf; false if it can name nothing that may
// be served. A path is refused rather than mended: one with empty or dot
// segments, with names that begin with a dot (but for /.well-known/), with a
// backslash or a NUL byte, and one that is not properly escaped. It is decoded
// once: what looks escaped after that is a name.
func locate(buf, path []byte) (place, bool) {
	if len(path) == 0 || path[0] != '/' {
		return place{}, false
	}
	p := place{path: buf[:0]}
	start := 0 // of the segment, in p.path
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch c {
		case '/': // only a slash that was sent as one divides
			if i > 0 && !p.closes(start) {
				return place{}, false
			}
			start = len(p.path) + 1
			p.extension = false
			p.path = append(p.path, '/')
			continue
		case '%':
			if i+2 >= len(path) {
				return place{}, false
			}
			hi, lo := unhex(path[i+1]), unhex(path[i+2])
			if hi < 0 || lo < 0 {
				return place{}, false
			}
			c = byte(hi<<4 | lo)
			i += 2
			if c == '/' {
				return place{}, false
			}
		}
		switch c {
		case 0, '\\':
			return place{}, false
		case '.':
			p.extension = p.extension || len(p.path) > start
		}
		p.path = append(p.path, c)
	}
	p.directory = start == len(p.path)
	if !p.directory && !p.closes(start) {
		return place{}, false
	}
	return p, true
}

// closes reports whether the segment that began at start may stand there.
func (p *place) closes(start int) bool {
	segment := p.path[start:]
	switch {
	case len(segment) == 0:
		return false
	case segment[0] != '.':
		return true
	}
	return start == 1 && string(segment) == wellKnown
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

var rootPath = []byte("/")

// below strips the URL prefix under which the app lives; what lies elsewhere
// is left as it is.
func below(path, prefix []byte) []byte {
	if len(prefix) == 0 || !bytes.HasPrefix(path, prefix) {
		return path
	}
	switch rest := path[len(prefix):]; {
	case len(rest) == 0:
		return rootPath
	case rest[0] == '/':
		return rest
	}
	return path
}
