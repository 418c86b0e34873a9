package compress

import (
	"bytes"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// Accept is what a client says in Accept-Encoding. The zero value is that of a
// client that says nothing.
type Accept struct {
	named [codings]int16 // weight + 1; 0: not named
	star  int16
}

// unnamedIdentity is the weight of a body as it is where the client does not
// speak of it: acceptable (RFC 9110 §12.5.3), but whoever lists codings is taken
// to prefer any of them.
const unnamedIdentity = 1

// preference decides between codings that the client wants equally.
var preference = [...]Coding{Brotli, Zstd, Gzip, Identity}

// Accepted parses the value of one Accept-Encoding field (RFC 9110 §12.5.3);
// present is false if the request has none. Members that break the grammar are
// taken as not sent. Where a coding is named twice the lower weight holds.
//
// A client that sends no such field would accept anything by the letter of the
// RFC; it gets the body as it is, since most that leave the field out cannot
// decode.
func Accepted(header []byte, present bool) Accept {
	var a Accept
	if present {
		a.add(header)
	}
	return a
}

// AcceptedBy is what the client of x accepts, in all the Accept-Encoding fields
// of the request.
func AcceptedBy(x *httpd.Exchange) Accept {
	var a Accept
	for i := range x.Fields {
		if x.Fields[i].Key == link.KeyHTTPAcceptEncoding {
			a.add(x.Fields[i].Value)
		}
	}
	return a
}

// Q is the weight of a coding in thousandths, 0 (not acceptable) to 1000.
func (a Accept) Q(c Coding) int {
	switch {
	case c >= codings:
		return 0
	case a.named[c] > 0:
		return int(a.named[c]) - 1
	case a.star > 0:
		return int(a.star) - 1
	case c == Identity:
		return unnamedIdentity
	}
	return 0
}

// Choose is the coding out of available that the client likes best; between
// equals br, zstd, gzip, identity in this order. If it accepts none of them,
// not even identity where that is available, ok is false; RFC 9110 advises to
// send the body as it is then.
func (a Accept) Choose(available Set) (c Coding, ok bool) {
	best := 0
	for _, candidate := range preference {
		if !available.Has(candidate) {
			continue
		}
		if q := a.Q(candidate); q > best {
			c, best = candidate, q
		}
	}
	return c, best > 0
}

// add takes in the members of one field value.
func (a *Accept) add(header []byte) {
	for len(header) > 0 {
		var member []byte
		member, header, _ = bytes.Cut(header, comma)
		name, parameter, weighted := bytes.Cut(member, semicolon)
		weight := int16(1000)
		if weighted {
			var ok bool
			if weight, ok = parseWeight(trim(parameter)); !ok {
				continue
			}
		}
		if slot := a.slot(trim(name)); slot != nil && (*slot == 0 || weight+1 < *slot) {
			*slot = weight + 1
		}
	}
}

// slot is where the weight of the named coding is kept, nil if the server does
// not know it.
func (a *Accept) slot(name []byte) *int16 {
	switch len(name) {
	case 1:
		if name[0] == '*' {
			return &a.star
		}
	case 2:
		if equalFold(name, "br") {
			return &a.named[Brotli]
		}
	case 4:
		if equalFold(name, "gzip") {
			return &a.named[Gzip]
		}
		if equalFold(name, "zstd") {
			return &a.named[Zstd]
		}
	case 6:
		if equalFold(name, "x-gzip") { // RFC 9110 §8.4.1.3
			return &a.named[Gzip]
		}
	case 8:
		if equalFold(name, "identity") {
			return &a.named[Identity]
		}
	}
	return nil
}

// parseWeight reads `q=` and a qvalue (RFC 9110 §12.4.2) in thousandths.
func parseWeight(b []byte) (int16, bool) {
	if len(b) < 3 || len(b) > 7 || b[0]|0x20 != 'q' || b[1] != '=' || b[2] != '0' && b[2] != '1' {
		return 0, false
	}
	weight := int16(b[2]-'0') * 1000
	if len(b) == 3 {
		return weight, true
	}
	if b[3] != '.' {
		return 0, false
	}
	unit := int16(100)
	for _, digit := range b[4:] {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		weight += int16(digit-'0') * unit
		unit /= 10
	}
	return weight, weight <= 1000
}

var (
	comma     = []byte(",")
	semicolon = []byte(";")
)

// trim removes optional white space (RFC 9110 §5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares with a text in lower case, ASCII letters without case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
