package respcache

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// maxKey is the longest key, in bytes: URL and everything a response is
// selected by. Longer requests go past the cache.
const maxKey = 4 << 10

// fieldClass is what a request header field means to the cache.
type fieldClass uint8

const (
	fieldPlain         fieldClass = iota
	fieldCookie                   // decides how careful the cache is
	fieldControl                  // Cache-Control
	fieldPragma                   // counts without Cache-Control only (RFC 9111 §5.4)
	fieldBypass                   // the app alone can answer this
	fieldNoneMatch                // If-None-Match
	fieldModifiedSince            // If-Modified-Since
	fieldAccept                   // part of the key unless it says nothing
	fieldKeyed                    // part of the key
)

// fieldClasses tells the class of a field by its key.
//
// The keyed ones are not named in Vary by the frameworks that evaluate them:
// Rack makes the URLs of a page from the forwarded ones (anybody can send them
// to a server that is reached directly, so one visitor could plant links for
// the next), and Rails picks format and layout by the other two.
var fieldClasses = func() (t [256]fieldClass) {
	for class, names := range map[fieldClass][]string{
		fieldCookie:        {"HTTP_COOKIE"},
		fieldControl:       {"HTTP_CACHE_CONTROL"},
		fieldPragma:        {"HTTP_PRAGMA"},
		fieldBypass:        {"HTTP_AUTHORIZATION", "HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MATCH", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_UPGRADE"},
		fieldNoneMatch:     {"HTTP_IF_NONE_MATCH"},
		fieldModifiedSince: {"HTTP_IF_MODIFIED_SINCE"},
		fieldAccept:        {"HTTP_ACCEPT"},
		fieldKeyed:         {"HTTP_FORWARDED", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REQUESTED_WITH", "HTTP_TURBO_FRAME"},
	} {
		for _, name := range names {
			key := link.LookupEnvKey([]byte(name))
			if key == 0 {
				panic("the request header " + name + " has no key")
			}
			t[key] = class
		}
	}
	return t
}()

// forwardedPrefix begins the names of those forwarded fields that have no key
// (X-Forwarded-Ssl, X-Forwarded-Scheme, …).
var forwardedPrefix = []byte("HTTP_X_FORWARDED_")

// probe is one request as the cache sees it. It is reused; what it refers to
// belongs to the exchange.
type probe struct {
	x       *httpd.Exchange
	now     int64 // on the cache's clock, nanoseconds
	control control

	get          bool // not HEAD
	cookies      bool // there is a Cookie field
	reload       bool // the client wants the app's answer, but the next one may have it too
	noneMatch    int  // index of the field + 1
	sinceMatch   int  // index of the field + 1
	waited       bool // has waited for another request's answer
	urlEnd       int
	contextEnd   int
	key          []byte // url · context · values of the fields named by Vary
	home         uint64 // hash of the URL
	base         uint64 // hash of URL and context
	flight       uint64 // hash of what is known to select the response
	epoch, purge uint64 // of the URL and of everything, when the request began
	digits       [20]byte
	fallback     *entry // for an app that fails
}

// read takes the request apart; false: it goes past the cache.
func (p *probe) read(c *Cache, x *httpd.Exchange) bool {
	*p = probe{x: x, key: p.key[:0], control: newControl(), get: len(x.Method) == len("GET")}
	eligible := len(x.Host) > 0
	accept, pragma := 0, false
	for i := range x.Fields {
		f := &x.Fields[i]
		switch fieldClasses[f.Key] {
		case fieldBypass:
			eligible = false
		case fieldCookie:
			p.cookies = true
		case fieldControl:
			p.control.parse(f.Value)
		case fieldPragma:
			var c control
			c.parse(f.Value)
			pragma = pragma || c.noCache
		case fieldNoneMatch:
			if p.noneMatch == 0 {
				p.noneMatch = i + 1
			}
		case fieldModifiedSince:
			p.sinceMatch = i + 1
		case fieldAccept:
			if accept == 0 {
				accept = i + 1
			}
		}
	}
	// An app may read parameters out of the body of a GET (Rack does).
	if !eligible || p.control.noStore || p.control.malformed || x.HasBody() || len(x.Host)+len(x.Target) > maxKey {
		return false
	}
	p.reload = p.control.noCache || p.control.maxAge == 0 || pragma && !p.control.present
	p.appendKey(c, accept)
	if len(p.key) > maxKey {
		return false
	}
	p.home = maphash.Bytes(c.seed, p.key[:p.urlEnd])
	p.base, _ = p.variant(c.seed, nil)
	p.flight = p.base
	return true
}

// appendKey makes the key: the URL without its scheme, so that an
// invalidation finds both, and the context, which is everything else that
// selects a response whether or not the app says so.
func (p *probe) appendKey(c *Cache, accept int) {
	x := p.x
	p.key = appendURL(p.key, x.Host, x.Target)
	p.urlEnd = len(p.key)
	scheme := byte('h')
	if x.HTTPS {
		scheme = 's'
	}
	p.key = append(p.key, scheme)
	if len(c.cookieName) > 0 {
		value, there := cookieValue(x, c.cookieName)
		p.key = appendValue(p.key, value, there)
	}
	for i := range x.Fields {
		f := &x.Fields[i]
		switch {
		case i+1 == accept && !indifferent(f), fieldClasses[f.Key] == fieldKeyed, f.Key == 0 && bytes.HasPrefix(f.Name, forwardedPrefix):
			p.key = append(p.key, byte(f.Key))
			p.key = appendValue(p.key, f.Name, true)
			p.key = appendValue(p.key, f.Value, true)
		}
	}
	p.contextEnd = len(p.key)
}

// appendURL writes the authority in small letters, and the target.
func appendURL(dst, host, target []byte) []byte {
	for _, b := range host {
		if b >= 'A' && b <= 'Z' {
			b |= 0x20
		}
		dst = append(dst, b)
	}
	return append(dst, target...)
}

// appendValue writes a value so that what follows cannot be taken for a part
// of it.
func appendValue(dst, value []byte, there bool) []byte {
	if !there {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(value))+1)
	return append(dst, value...)
}

// indifferent tells an Accept field that leaves the choice to the app: it is
// that of browsers, a list with */* in it, or says that anything will do. Rails
// gives its default format then, without naming Accept in Vary, and other formats
// to others.
func indifferent(f *httpd.Field) bool {
	i := bytes.Index(f.Value, anything)
	if i < 0 || f.Next != 0 {
		return len(f.Value) == 0 && f.Next == 0
	}
	before, after := bytes.TrimRight(f.Value[:i], " \t"), bytes.TrimLeft(f.Value[i+len(anything):], " \t")
	if len(before) > 0 {
		return before[len(before)-1] == ','
	}
	return len(after) == 0 || after[0] == ','
}

var (
	anything  = []byte("*/*")
	comma     = []byte(",")
	semicolon = []byte(";")
)

// cookieValue finds the first cookie of that name (RFC 6265 §4.2.1).
func cookieValue(x *httpd.Exchange, name []byte) (value []byte, ok bool) {
	for i := range x.Fields {
		if x.Fields[i].Key != link.KeyHTTPCookie {
			continue
		}
		for rest := x.Fields[i].Value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, semicolon)
			pair = bytes.TrimLeft(pair, " \t")
			if len(pair) > len(name) && pair[len(name)] == '=' && bytes.HasPrefix(pair, name) {
				return bytes.TrimRight(pair[len(name)+1:], " \t"), true
			}
		}
	}
	return nil, false
}

func (p *probe) url() []byte { return p.key[:p.urlEnd] }

// variant makes the secondary key for responses that vary as v says (nil: not
// at all), and the hash of the whole. The key is good until the next call.
func (p *probe) variant(seed maphash.Seed, v *vary) (hash uint64, secondary []byte) {
	p.key = p.key[:p.contextEnd]
	if v != nil && len(v.fields) > 0 {
		p.key = appendValue(p.key, v.id, true)
		for i := range v.fields {
			p.appendField(&v.fields[i])
		}
	}
	secondary = p.key[p.urlEnd:]
	return maphash.Bytes(seed, secondary) ^ bits.RotateLeft64(p.home, 17), secondary
}

// appendField writes the value of a request header field, all its lines.
func (p *probe) appendField(v *varyField) {
	x := p.x
	if v.key == link.KeyContentType {
		p.key = appendValue(p.key, x.ContentType, x.ContentType != nil)
		return
	}
	for i := range x.Fields {
		f := &x.Fields[i]
		if f.Joined || f.Key != v.key || v.key == 0 && !bytes.Equal(f.Name, v.name) {
			continue
		}
		for {
			p.key = appendValue(p.key, f.Value, true)
			if f.Next == 0 {
				break
			}
			f = &x.Fields[f.Next]
		}
	}
	p.key = append(p.key, 0)
}

// vary is the list of request header fields that a response was selected by.
type vary struct {
	id     []byte // the names in small letters
	fields []varyField
}

type varyField struct {
	key  link.EnvKey
	name []byte // as in httpd.Field, if there is no key
}

// add reads a Vary field; false: nothing can be selected by it (the asterisk,
// or a name that no request header has).
func (v *vary) add(line []byte) bool {
	for len(line) > 0 {
		var name []byte
		name, line, _ = bytes.Cut(line, comma)
		name = bytes.ToLower(bytes.TrimSpace(name))
		if len(name) == 0 || string(name) == "host" { // the host is in every key
			continue
		}
		v.id = append(append(v.id, name...), ',')
		env := append([]byte("HTTP_"), bytes.ToUpper(name)...)
		for i, b := range env[len("HTTP_"):] {
			switch {
			case b == '-':
				env[len("HTTP_")+i] = '_'
			case b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
			default:
				return false
			}
		}
		f := varyField{key: link.LookupEnvKey(env)}
		switch {
		case string(name) == "content-type":
			f.key = link.KeyContentType
		case f.key == 0:
			f.name = env
		}
		v.fields = append(v.fields, f)
	}
	return true
}
