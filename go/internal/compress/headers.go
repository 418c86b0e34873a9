package compress

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// The app's header names have any case, and fasthttp's own look-ups heed it: all
// searches here go through the fields.

// fields is what the header fields of a response say about encoding it.
type fields struct {
	fixed        bool // the body must stay as it is
	etag         bool
	acceptRanges bool
	vary         varyState
}

// varyState is what the Vary fields say.
type varyState uint8

const (
	varyNone   varyState = iota // no Vary
	varyOthers                  // Vary without Accept-Encoding
	varyDone                    // with Accept-Encoding, or *
)

// look reads the header fields of a response.
//
// A body is fixed if it may not be transformed (RFC 9111 §5.2.2.6), if it is a
// part (RFC 9110 §14.4), or if a checksum of it goes along (RFC 9530, and
// Content-MD5 of RFC 2616).
func look(h *fasthttp.ResponseHeader) fields {
	var f fields
	for name, value := range h.All() {
		switch len(name) {
		case 4:
			if equalFold(name, "etag") {
				f.etag = true
			} else if equalFold(name, "vary") {
				f.vary = max(f.vary, varyOf(value))
			}
		case 6:
			f.fixed = f.fixed || equalFold(name, "digest")
		case 11:
			f.fixed = f.fixed || equalFold(name, "content-md5") || equalFold(name, "repr-digest")
		case 13:
			if equalFold(name, "accept-ranges") {
				f.acceptRanges = true
			} else if equalFold(name, "cache-control") {
				f.fixed = f.fixed || hasMember(value, "no-transform")
			} else if equalFold(name, "content-range") {
				f.fixed = true
			}
		case 14:
			f.fixed = f.fixed || equalFold(name, "content-digest")
		}
	}
	return f
}

func varyOf(value []byte) varyState {
	if hasMember(value, "*") || hasMember(value, "accept-encoding") {
		return varyDone
	}
	return varyOthers
}

// hasMember looks for a member of a comma-separated list; lower is in lower case.
func hasMember(list []byte, lower string) bool {
	for len(list) > 0 {
		var member []byte
		member, list, _ = bytes.Cut(list, comma)
		if equalFold(trim(member), lower) {
			return true
		}
	}
	return false
}

var (
	nameVary           = []byte("Vary")
	nameAcceptEncoding = []byte("Accept-Encoding")
)

// AddVary has Vary name Accept-Encoding (RFC 9110 §12.5.5). Fields that are
// there already, in any spelling and on any number of lines, become one line;
// what names Accept-Encoding or is * stays as it is.
func AddVary(h *fasthttp.ResponseHeader) {
	state := varyNone
	for name, value := range h.All() {
		if equalFold(name, "vary") {
			state = max(state, varyOf(value))
		}
	}
	addVary(h, state)
}

func addVary(h *fasthttp.ResponseHeader, state varyState) {
	switch state {
	case varyDone:
	case varyNone:
		h.AddBytesKV(nameVary, nameAcceptEncoding)
	case varyOthers:
		var space [128]byte
		merged := space[:0]
		for name, value := range h.All() {
			if value = trim(value); equalFold(name, "vary") && len(value) > 0 {
				merged = append(append(merged, value...), ", "...)
			}
		}
		merged = append(merged, nameAcceptEncoding...)
		remove(h, "vary")
		h.AddBytesKV(nameVary, merged)
	}
}

// remove deletes all fields of that name, given in lower case.
func remove(h *fasthttp.ResponseHeader, lower string) {
	for {
		name := find(h, lower)
		if name == nil {
			return
		}
		h.DelBytes(name)
	}
}

// find returns the name of the first such field as it is spelled there.
func find(h *fasthttp.ResponseHeader, lower string) []byte {
	for name := range h.All() {
		if equalFold(name, lower) {
			return name
		}
	}
	return nil
}

// weaken makes a strong ETag weak: the encoded form is another sequence of bytes
// with the same meaning (RFC 9110 §8.8.1).
func weaken(h *fasthttp.ResponseHeader) {
	for name, value := range h.All() {
		if !equalFold(name, "etag") {
			continue
		}
		if value = trim(value); len(value) > 0 && value[0] == '"' {
			h.SetBytesKV(name, append([]byte("W/"), value...))
		}
		return
	}
}
