package static

import (
	"bytes"
	"strconv"
)

// span is a part of a content: length bytes from start.
type span struct{ start, length int64 }

// maxRanges is how many ranges one request may ask for; who asks for more gets
// the whole content.
const maxRanges = 32

// parseRanges reads a Range field (RFC 9110 §14.1.2) for a content of a size.
// ok is false if the field is to be ignored: another unit, a syntax error, more
// ranges than are sensible, or ranges that are more than the whole together.
// No spans although ok: none of the ranges can be satisfied.
func parseRanges(field []byte, size int64, spans []span) (_ []span, ok bool) {
	unit, set, found := bytes.Cut(field, []byte{'='})
	if !found || !bytes.EqualFold(bytes.TrimSpace(unit), []byte("bytes")) {
		return nil, false
	}
	spans = spans[:0]
	count, total := 0, int64(0)
	for len(set) > 0 {
		var spec []byte
		spec, set, _ = bytes.Cut(set, []byte{','})
		if spec = bytes.TrimSpace(spec); len(spec) == 0 {
			continue // empty list elements are nothing (RFC 9110 §5.6.1)
		}
		if count++; count > maxRanges {
			return nil, false
		}
		s, satisfiable, ok := parseRange(spec, size)
		if !ok {
			return nil, false
		}
		if satisfiable {
			spans = append(spans, s)
			total += s.length
		}
	}
	if count == 0 || len(spans) > 1 && total > size {
		return nil, false
	}
	return spans, true
}

// parseRange reads one of 0-499, 500-, -500.
func parseRange(spec []byte, size int64) (s span, satisfiable, ok bool) {
	first, last, found := bytes.Cut(spec, []byte{'-'})
	if !found {
		return span{}, false, false
	}
	first, last = bytes.TrimSpace(first), bytes.TrimSpace(last)
	if len(first) == 0 { // the last so many bytes
		n, ok := parsePosition(last)
		if !ok {
			return span{}, false, false
		}
		n = min(n, size)
		return span{size - n, n}, n > 0, true
	}
	start, ok := parsePosition(first)
	if !ok {
		return span{}, false, false
	}
	end := size - 1
	if len(last) > 0 {
		if end, ok = parsePosition(last); !ok || end < start {
			return span{}, false, false
		}
		end = min(end, size-1)
	}
	return span{start, end - start + 1}, start < size, true
}

// parsePosition reads digits; what no int64 can hold is as far as one can go.
func parsePosition(digits []byte) (int64, bool) {
	if len(digits) == 0 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(string(digits), 10, 63)
	if err != nil {
		return 1<<62 - 1, true
	}
	return n, true
}

// appendContentRange renders the Content-Range of a part.
func appendContentRange(dst []byte, s span, size int64) []byte {
	dst = append(dst, "bytes "...)
	dst = strconv.AppendInt(dst, s.start, 10)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, s.start+s.length-1, 10)
	dst = append(dst, '/')
	return strconv.AppendInt(dst, size, 10)
}
