package static

import (
	"bytes"
	"net/http"
	"time"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// validators tell one version of a content from another (RFC 9110 §8.8).
type validators struct {
	etag    []byte // with its quotes, perhaps W/; nil if there is none
	seconds int64  // time of the last change, since 1970
	date    []byte // the same as in Last-Modified; nil if it is not known
}

// setModified sets the time of the last change, in nanoseconds since 1970. A time
// in the future is not told to anybody (RFC 9110 §8.8.2.1).
func (v *validators) setModified(nanoseconds int64, now time.Time) {
	if nanoseconds <= now.UnixNano() {
		v.setSeconds(nanoseconds / int64(time.Second))
	}
}

func (v *validators) setSeconds(seconds int64) {
	v.seconds = seconds
	v.date = time.Unix(seconds, 0).UTC().AppendFormat(nil, http.TimeFormat)
}

// weak is v for the same content in another form that is not made the same way
// every time.
func (v validators) weak() validators {
	if v.etag != nil && v.etag[0] == '"' {
		v.etag = append([]byte("W/"), v.etag...)
	}
	return v
}

// conditions are the fields of a request on which its answer depends (RFC 9110
// §13.1, §14.2); nil if they were not sent.
type conditions struct {
	match, noneMatch, modifiedSince, unmodifiedSince, ranges, ifRange []byte
}

// conditionsOf collects the conditions of a request in one go.
func conditionsOf(x *httpd.Exchange) (c conditions) {
	for i := range x.Fields {
		f := &x.Fields[i]
		if f.Joined {
			continue
		}
		var to *[]byte
		switch f.Key {
		case link.KeyHTTPIfNoneMatch:
			to = &c.noneMatch
		case link.KeyHTTPIfModifiedSince:
			to = &c.modifiedSince
		case link.KeyHTTPRange:
			to = &c.ranges
		case link.KeyHTTPIfRange:
			to = &c.ifRange
		case link.KeyHTTPIfMatch:
			to = &c.match
		case link.KeyHTTPIfUnmodifiedSince:
			to = &c.unmodifiedSince
		default:
			continue
		}
		if *to = f.Value; *to == nil {
			*to = []byte{} // sent, but empty
		}
		if f.Next != 0 {
			*to, _ = x.Field(f.Key)
		}
	}
	return c
}

// status evaluates the conditions in the order of RFC 9110 §13.2.2: 200, 304 or
// 412. An empty field holds for nothing.
func (c *conditions) status(v validators) int {
	switch {
	case c.match != nil:
		if !listed(c.match, v.etag, false) {
			return http.StatusPreconditionFailed
		}
	case c.unmodifiedSince != nil:
		if t, ok := parseDate(c.unmodifiedSince); ok && (v.date == nil || v.seconds > t) {
			return http.StatusPreconditionFailed
		}
	}
	switch {
	case c.noneMatch != nil:
		if listed(c.noneMatch, v.etag, true) {
			return http.StatusNotModified
		}
	case c.modifiedSince != nil && v.date != nil:
		if bytes.Equal(c.modifiedSince, v.date) {
			return http.StatusNotModified
		}
		if t, ok := parseDate(c.modifiedSince); ok && v.seconds <= t {
			return http.StatusNotModified
		}
	}
	return http.StatusOK
}

// wantsRange reports whether the Range field counts (RFC 9110 §13.1.5): a part
// is of use only to who has the other parts of the very same version.
func (c *conditions) wantsRange(v validators, now time.Time) bool {
	switch {
	case c.ranges == nil:
		return false
	case c.ifRange == nil:
		return true
	case bytes.IndexByte(c.ifRange, '"') >= 0:
		return v.etag != nil && v.etag[0] == '"' && bytes.Equal(c.ifRange, v.etag)
	}
	// A date is a strong validator only if nothing can have changed within its second.
	t, ok := parseDate(c.ifRange)
	return ok && v.date != nil && t == v.seconds && now.Unix() > v.seconds
}

// listed looks for an entity tag in a list of them (RFC 9110 §8.8.3); weak
// comparison takes no notice of W/. An asterisk is any tag.
func listed(list, etag []byte, weak bool) bool {
	opaque, isWeak := cutWeak(etag)
	for {
		list = bytes.TrimLeft(list, " \t,")
		if len(list) == 0 {
			return false
		}
		if list[0] == '*' {
			return true
		}
		candidate, candidateWeak := cutWeak(list)
		if len(candidate) == 0 || candidate[0] != '"' {
			return false
		}
		end := bytes.IndexByte(candidate[1:], '"')
		if end < 0 {
			return false
		}
		if opaque != nil && bytes.Equal(candidate[:end+2], opaque) && (weak || !isWeak && !candidateWeak) {
			return true
		}
		list = candidate[end+2:]
	}
}

func cutWeak(etag []byte) (opaque []byte, weak bool) {
	if len(etag) > 2 && etag[0] == 'W' && etag[1] == '/' {
		return etag[2:], true
	}
	return etag, false
}

// parseDate reads the three forms of RFC 9110 §5.6.7.
func parseDate(b []byte) (seconds int64, ok bool) {
	t, err := http.ParseTime(string(b))
	return t.Unix(), err == nil
}
