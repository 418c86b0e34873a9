package static

import (
	"bytes"
	"net/http"
	"time"

	"passenger/go/internal/httpd"
)

// Send makes a file the body of the response that the app has begun: whole, in
// part, or not at all, as the conditions of the request have it. Validators and
// type are the app's if it has given any, else the file's. The file is taken
// over.
func Send(x *httpd.Exchange, file *File) {
	c := content{size: file.size, file: file}
	response := &x.Ctx.Response
	if len(response.Header.ContentType()) == 0 {
		c.contentType = contentType(file.name)
	}
	method := string(x.Method)
	given := givenBy(x)
	if response.StatusCode() != http.StatusOK || given.ranged || method != http.MethodGet && method != http.MethodHead {
		if c.contentType != "" {
			response.Header.SetContentType(c.contentType)
		}
		c.whole(x)
		return
	}
	if c.validators = given.validators; given.any {
		c.announced = true
	} else {
		c.validators = file.identity.validators(time.Now(), "")
	}
	c.indivisible = given.noRanges
	conditions := conditionsOf(x)
	if given.any && given.date == nil { // there is no date then (RFC 9110 §13.1.4)
		conditions.unmodifiedSince = nil
	}
	c.deliver(x, &conditions)
}

// given is what an app has said about the file that it sends.
type given struct {
	validators
	any      bool // it has given a validator
	ranged   bool // it has cut out a part by itself
	noRanges bool // it has an Accept-Ranges of its own
}

func givenBy(x *httpd.Exchange) (g given) {
	for name, value := range x.Ctx.Response.Header.All() {
		switch {
		case bytes.EqualFold(name, headerETag):
			g.etag, g.any = bytes.Clone(value), true
		case bytes.EqualFold(name, headerLastModified):
			g.any = true
			if seconds, ok := parseDate(value); ok {
				g.setSeconds(seconds)
			}
		case bytes.EqualFold(name, headerContentRange):
			g.ranged = true
		case bytes.EqualFold(name, headerAcceptRanges), bytes.EqualFold(name, headerContentEncoding):
			g.noRanges = true
		}
	}
	return g
}
