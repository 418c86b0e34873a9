package core

import (
	"bytes"
	"strconv"
	"strings"

	"passenger/go/internal/config"
	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// sticky binds a client to the worker that has answered it first, by a cookie
// (Passenger's sticky_sessions).
type sticky struct {
	name       string // of the cookie
	attributes string // ready to be appended, each after "; "
}

// newSticky prepares the cookie. HttpOnly always: no script has a use for it.
// Secure only over https, since a client drops it elsewhere.
func newSticky(o config.Options) *sticky {
	if !o.StickySessions {
		return nil
	}
	s := &sticky{name: o.StickySessionsCookieName}
	for part := range strings.SplitSeq(o.StickySessionsCookieAttributes, ";") {
		part = strings.TrimSpace(part)
		switch {
		case part == "", strings.EqualFold(part, "secure"), strings.EqualFold(part, "httponly"):
		default:
			s.attributes += "; " + part
		}
	}
	s.attributes += "; HttpOnly"
	return s
}

// wanted is the id of the worker that the client is bound to, 0 if it is to none.
func (s *sticky) wanted(x *httpd.Exchange) uint32 {
	for i := range x.Fields {
		if x.Fields[i].Key != link.KeyHTTPCookie {
			continue
		}
		if id := s.parse(x.Fields[i].Value); id != 0 {
			return id
		}
	}
	return 0
}

func (s *sticky) parse(cookies []byte) uint32 {
	for cookie := range bytes.SplitSeq(cookies, []byte(";")) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(cookie), []byte("="))
		if string(name) != s.name {
			continue
		}
		if id, err := strconv.ParseUint(string(value), 10, 32); err == nil {
			return uint32(id)
		}
	}
	return 0
}

// bind tells the client which worker has answered, if it does not know that.
func (s *sticky) bind(x *httpd.Exchange, wanted, answered uint32) {
	if answered == 0 || answered == wanted {
		return
	}
	cookie := s.name + "=" + strconv.FormatUint(uint64(answered), 10) + "; Path=/" + s.attributes
	if x.HTTPS {
		cookie += "; Secure"
	}
	x.Ctx.Response.Header.Add("Set-Cookie", cookie)
}
