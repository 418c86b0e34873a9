package static

import (
	"net/http"
	"strconv"

	"passenger/go/internal/compress"
	"passenger/go/internal/httpd"
)

// Shortcut answers requests for what is in memory (httpd.Shortcut), with the
// same bytes as Handler. Everything but plain questions for a whole content, and
// for whether it has changed, is left to the latter.
func (f *Files) Shortcut(x *httpd.Exchange, date, head []byte) (_, body []byte, ok bool) {
	l := f.lookups.Get().(*lookup)
	defer f.lookups.Put(l)
	e, root := f.kept(x, l)
	if e == nil || !x.Complete() {
		return head, nil, false
	}
	conditions := conditionsOf(x)
	if conditions.ranges != nil || conditions.match != nil || conditions.unmodifiedSince != nil {
		return head, nil, false
	}
	send, varies := &e.form, e.varies(&f.options)
	if e.codable {
		if !varies {
			return head, nil, false // a twin may have come
		}
		if chosen := f.negotiate(x, e, root, false); chosen != nil {
			send = chosen
		}
	}
	if send.body == nil || send.outgrown(f.now) {
		return head, nil, false
	}
	f.store.hits.Add(1)
	if conditions.status(send.validators) == http.StatusNotModified {
		return appendHead(head, date, e, send, varies, true), nil, true
	}
	head = appendHead(head, date, e, send, varies, false)
	if string(x.Method) == http.MethodHead {
		return head, nil, true
	}
	return head, send.body, true
}

// kept finds the entry of a request if its file is in memory and still the same.
func (f *Files) kept(x *httpd.Exchange, l *lookup) (*entry, *Root) {
	p, ok := l.look(f.site.Load(), x.Path)
	if !ok {
		return nil, nil
	}
	var e *entry
	found := 0
	for i, c := range l.candidates {
		l.name = c.appendName(l.name[:0], p)
		if e = f.store.get(l.name); e != nil {
			found = i
			break
		}
	}
	if e == nil {
		return nil, nil
	}
	l.name = append(l.name, 0)
	if !f.stats.regular(l.name, &l.st) || identify(&l.st) != e.identity || e.outgrown(f.now) {
		return nil, nil
	}
	// What comes before it in the order must not be there.
	for _, c := range l.candidates[:found] {
		l.name = append(c.appendName(l.name[:0], p), 0)
		if f.stats.regular(l.name, &l.st) {
			return nil, nil
		}
	}
	return e, l.candidates[found].root
}

// appendHead renders the head of a response as the server would.
func appendHead(dst, date []byte, e *entry, send *form, varies, notModified bool) []byte {
	if notModified {
		dst = append(dst, "HTTP/1.1 304 Not Modified\r\nDate: "...)
		dst = append(dst, date...)
	} else {
		dst = append(dst, "HTTP/1.1 200 OK\r\nDate: "...)
		dst = append(dst, date...)
		dst = append(dst, "\r\nContent-Type: "...)
		dst = append(dst, e.contentType...)
		if send.coding != compress.Identity {
			dst = append(dst, "\r\nContent-Encoding: "...)
			dst = append(dst, codingNames[send.coding]...)
		}
		dst = append(dst, "\r\nContent-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(send.body)), 10)
	}
	if varies {
		dst = append(dst, "\r\nVary: Accept-Encoding"...)
	}
	if send.date != nil {
		dst = append(dst, "\r\nLast-Modified: "...)
		dst = append(dst, send.date...)
	}
	if send.etag != nil {
		dst = append(dst, "\r\nETag: "...)
		dst = append(dst, send.etag...)
	}
	if e.digested {
		dst = append(dst, "\r\nCache-Control: "...)
		dst = append(dst, forever...)
		dst = append(dst, "\r\nExpires: "...)
		dst = append(dst, endOfTimes...)
	}
	if send.coding == compress.Identity && !notModified {
		dst = append(dst, "\r\nAccept-Ranges: bytes"...)
	}
	return append(dst, "\r\n\r\n"...)
}
