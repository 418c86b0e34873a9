package httpd

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/link"
)

// maxFields is how many header fields a request may have.
const maxFields = 256

// Field is one header field of a request, by the name it has in the Rack
// environment.
type Field struct {
	Key   link.EnvKey // 0: Name says which
	Name  []byte      // HTTP_X_FOO; for fields without a key only
	Value []byte
	// Next is the index of the next field of the same name, 0 if none.
	Next int
	// Joined says that the field is the continuation of an earlier one.
	Joined bool
}

// Exchange is one request with the means to answer it. It is reused; nothing
// of it may be kept after the handler has returned.
type Exchange struct {
	Ctx  *fasthttp.RequestCtx
	Conn *Conn

	Method   []byte
	Target   []byte // as sent, absolute form reduced to path and query
	Path     []byte // raw, neither decoded nor normalised
	Query    []byte
	Protocol []byte // HTTP/1.1
	Host     []byte // authority of the target, else the Host field; nil if neither
	Server   string // host part of Host, brackets kept; the local address without Host
	Port     string // port of Host, else the scheme's; the local port without Host
	HTTPS    bool
	HTTP11   bool
	Fields   []Field
	// ContentType is nil if there was none.
	ContentType []byte
	// Memo keeps what has been made of the response's body; nil if the
	// response is not kept. A step that serves a kept response sets it.
	Memo Memo

	names   []byte // backing store of Field.Name
	rest    []byte // header fields that Complete is to parse
	chunked bool   // Transfer-Encoding was sent
	sized   bool   // Content-Length was sent
}

// Memo keeps encoded forms of a response body that is itself kept, so that each
// is made once. Codings are named as in Content-Encoding. What has been saved
// is shared and never changed.
type Memo interface {
	Load(coding string) []byte // nil if there is none
	Save(coding string, body []byte)
}

// Field is the value of a header field; those of several fields of one name
// are joined by commas (RFC 9110 §5.2).
func (x *Exchange) Field(key link.EnvKey) (value []byte, ok bool) {
	for i := range x.Fields {
		f := &x.Fields[i]
		if f.Key != key {
			continue
		}
		if f.Next == 0 {
			return f.Value, true
		}
		value = bytes.Clone(f.Value)
		for next := f.Next; next != 0; next = x.Fields[next].Next {
			value = append(append(value, ", "...), x.Fields[next].Value...)
		}
		return value, true
	}
	return nil, false
}

// ParseError is a request that cannot be served; Status is what the client gets.
type ParseError struct {
	Status int
	Reason string
}

func (e *ParseError) Error() string { return e.Reason }

func bad(reason string) error { return &ParseError{http.StatusBadRequest, reason} }

var (
	protocolHTTP1   = []byte("HTTP/1.")
	methodConnect   = []byte("CONNECT")
	headerProxy     = []byte("HTTP_PROXY")
	headerSendfile  = []byte("HTTP_X_SENDFILE_TYPE")
	headerMapping   = []byte("HTTP_X_ACCEL_MAPPING")
	prefixHTTP      = []byte("HTTP_")
	errNoBlankLine  = errors.New("request head does not end in a blank line")
	nameHost        = []byte("HTTP_HOST")
	nameType        = []byte("HTTP_CONTENT_TYPE")
	nameLength      = []byte("HTTP_CONTENT_LENGTH")
	nameTransferEnc = []byte("HTTP_TRANSFER_ENCODING")
	nameTrailer     = []byte("HTTP_TRAILER")
)

// parse takes the request of ctx apart and checks it.
func (x *Exchange) parse(ctx *fasthttp.RequestCtx, conn *Conn) error {
	h := &ctx.Request.Header
	x.Ctx, x.Conn = ctx, conn
	x.Method = h.Method()
	x.Protocol = h.Protocol()
	x.HTTP11 = h.IsHTTP11()
	x.Host, x.ContentType, x.Memo = nil, nil, nil
	x.HTTPS = ctx.IsTLS()
	x.chunked, x.sized = false, false
	x.Fields = x.Fields[:0]
	x.names = x.names[:0]

	if !bytes.HasPrefix(x.Protocol, protocolHTTP1) {
		return &ParseError{http.StatusHTTPVersionNotSupported, "this server speaks HTTP/1.0 and HTTP/1.1"}
	}
	if bytes.Equal(x.Method, methodConnect) {
		return &ParseError{http.StatusMethodNotAllowed, "CONNECT is for proxies; this server is none"}
	}
	if err := x.parseFields(h.RawHeaders()); err != nil {
		return err
	}
	if x.chunked && x.sized {
		return bad("both Transfer-Encoding and Content-Length (RFC 9112 §6.1)")
	}
	if err := x.parseTarget(h.RequestURI()); err != nil {
		return err
	}
	return x.parseHost()
}

// parseFields goes through the raw header block. fasthttp has checked its
// syntax; its own view of the fields is not used, because it takes cookies
// apart and puts them together again.
func (x *Exchange) parseFields(raw []byte) error {
	for {
		end := bytes.IndexByte(raw, '\n')
		if end < 0 {
			if len(raw) == 0 {
				return nil
			}
			return errNoBlankLine
		}
		if end == 0 || raw[end-1] != '\r' {
			return bad("header line that ends in a bare line feed (RFC 9112 §2.2)")
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		if len(line) == 0 {
			return nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			return bad("header field folded over several lines (RFC 9112 §5.2)")
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			return bad("header line without a name")
		}
		if err := x.addField(line[:colon], bytes.Trim(line[colon+1:], " \t")); err != nil {
			return err
		}
	}
}

// addField files one field. Names that cannot be told apart in the Rack
// environment (X_Foo and X-Foo) or that turn into a variable programs trust
// (Proxy, "httpoxy") are dropped, and so are those by which Rack::Sendfile is
// told how the server sends files: that is the server's to say.
func (x *Exchange) addField(name, value []byte) error {
	start := len(x.names)
	x.names = append(x.names, prefixHTTP...)
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		case c == '-':
			c = '_'
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
		case tokenByte[c]:
			x.names = x.names[:start]
			return nil
		default:
			return bad("header name with a character that no name has (RFC 9110 §5.1)")
		}
		x.names = append(x.names, c)
	}
	env := x.names[start:]
	if bytes.IndexByte(value, 0) >= 0 {
		return bad("header field with a NUL byte")
	}
	key := link.LookupEnvKey(env)
	if key == 0 {
		switch {
		case bytes.Equal(env, nameTransferEnc):
			x.names = x.names[:start]
			x.chunked = true
			return nil
		case bytes.Equal(env, nameLength):
			x.names = x.names[:start]
			x.sized = true
			return nil
		case bytes.Equal(env, headerProxy), bytes.Equal(env, nameTrailer),
			bytes.Equal(env, headerSendfile), bytes.Equal(env, headerMapping):
			x.names = x.names[:start]
			return nil
		case bytes.Equal(env, nameType):
			x.names = x.names[:start]
			x.ContentType = value
			return nil
		}
	} else {
		x.names = x.names[:start]
		if key == link.KeyHTTPVersion { // a header "Version" must not pose as the protocol's
			return nil
		}
		if key == link.KeyHTTPHost {
			x.Host = value
			return nil
		}
		env = nil
	}
	if len(x.Fields) == maxFields {
		return &ParseError{http.StatusRequestHeaderFieldsTooLarge, "too many header fields"}
	}
	joined := false
	for i := range x.Fields {
		f := &x.Fields[i]
		if f.Joined || f.Key != key || (key == 0 && !bytes.Equal(f.Name, env)) {
			continue
		}
		for f.Next != 0 {
			f = &x.Fields[f.Next]
		}
		f.Next = len(x.Fields)
		joined = true
		break
	}
	x.Fields = append(x.Fields, Field{Key: key, Name: env, Value: value, Joined: joined})
	return nil
}

// parseTarget handles the forms of RFC 9112 §3.2: origin, absolute, asterisk.
func (x *Exchange) parseTarget(target []byte) error {
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return bad("request target with a control character")
		}
	}
	switch {
	case len(target) > 0 && target[0] == '/':
	case len(target) == 1 && target[0] == '*':
		if string(x.Method) != http.MethodOptions {
			return bad("the target * is for OPTIONS only")
		}
	default:
		scheme, rest, ok := bytes.Cut(target, []byte("://"))
		if !ok || !(equalFold(scheme, "http") || equalFold(scheme, "https")) {
			return bad("request target is neither a path nor an http URL")
		}
		authority := rest
		if i := bytes.IndexAny(rest, "/?#"); i >= 0 {
			authority, target = rest[:i], rest[i:]
		} else {
			target = []byte("/")
		}
		if target[0] != '/' {
			target = append([]byte("/"), target...)
		}
		if i := bytes.LastIndexByte(authority, '@'); i >= 0 {
			authority = authority[i+1:]
		}
		if len(authority) == 0 {
			return bad("request target without a host")
		}
		x.Host = authority // RFC 9112 §3.2.2: it replaces the Host field
	}
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		target = target[:i]
	}
	x.Target = target
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		x.Path, x.Query = target[:i], target[i+1:]
	} else {
		x.Path, x.Query = target, nil
	}
	return nil
}

func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c|0x20 != s[i]|0x20 {
			return false
		}
	}
	return true
}

// parseHost splits the authority, IPv6 brackets included.
func (x *Exchange) parseHost() error {
	if len(x.Host) == 0 {
		if x.HTTP11 && x.Host == nil {
			return bad("request without a Host field (RFC 9112 §3.2)")
		}
		x.Server, x.Port = x.Conn.localAddr, x.Conn.localPort
		if bytes.IndexByte([]byte(x.Server), ':') >= 0 {
			x.Server = "[" + x.Server + "]"
		}
		return nil
	}
	name, port := x.Host, []byte(nil)
	if name[0] == '[' {
		i := bytes.IndexByte(name, ']')
		if i < 0 {
			return bad("Host with an unclosed bracket")
		}
		rest := name[i+1:]
		name = name[:i+1]
		if len(rest) > 0 {
			if rest[0] != ':' {
				return bad("Host with characters after the bracket")
			}
			port = rest[1:]
		}
	} else if i := bytes.IndexByte(name, ':'); i >= 0 {
		name, port = name[:i], name[i+1:]
	}
	if len(name) == 0 {
		return bad("Host without a name")
	}
	for _, c := range name {
		if !hostByte[c] {
			return bad("Host with a character that no host name has")
		}
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return bad("Host with a port that is no number")
		}
	}
	if len(port) > 5 {
		return bad("Host with a port that is no number")
	}
	// Most requests of a connection name the same host: keep the strings.
	if string(name) != x.Server {
		x.Server = string(name)
	}
	switch {
	case len(port) > 0:
		if string(port) != x.Port {
			x.Port = string(port)
		}
	case x.HTTPS:
		x.Port = "443"
	default:
		x.Port = "80"
	}
	return nil
}

// tokenByte tells the bytes of a field name besides letters, digits and hyphen.
var tokenByte = func() (t [256]bool) {
	for _, c := range "!#$%&'*+.^_`|~" {
		t[c] = true
	}
	return t
}()

// hostByte tells the bytes of RFC 3986 reg-names and IP literals, without the
// percent sign.
var hostByte = func() (t [256]bool) {
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for _, c := range "-._~!$&'()*+,;=[]:" {
		t[c] = true
	}
	return t
}()
