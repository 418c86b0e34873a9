package respcache

import (
	"github.com/valyala/fasthttp"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// newExchange makes a request without a connection; fields are pairs of a key
// and a value.
func newExchange(method, target string, fields ...string) *httpd.Exchange {
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(&fasthttp.Request{}, nil, nil)
	ctx.Request.Header.SetMethod(method)
	ctx.Response.Header.DisableNormalizing()
	ctx.Response.Header.SetNoDefaultContentType(true)
	x := &httpd.Exchange{
		Ctx:    ctx,
		Method: []byte(method),
		Target: []byte(target),
		Path:   []byte(target),
		Host:   []byte("example.org"),
		HTTP11: true,
	}
	for i := 0; i < len(fields); i += 2 {
		x.Fields = append(x.Fields, httpd.Field{Key: link.LookupEnvKey([]byte(fields[i])), Name: []byte(fields[i]), Value: []byte(fields[i+1])})
	}
	return x
}
