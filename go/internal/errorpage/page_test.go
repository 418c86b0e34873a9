package errorpage

import (
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/dispatch"
)

func TestSecretsAreRedacted(t *testing.T) {
	for text, want := range map[string]string{
		`password: "hunter2", user: bob`:  `password: [redacted], user: bob`,
		`SECRET_KEY_BASE=abc123 next`:     `SECRET_KEY_BASE=[redacted] next`,
		`{:api_key=>"k1", "x"=>1}`:        `{:api_key=>[redacted], "x"=>1}`,
		`postgres://me:pw@db/app is down`: `postgres://me:[redacted]@db/app is down`,
		`no method 'foo' for nil`:         `no method 'foo' for nil`,
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s becomes %s", text, got)
		}
	}
}

var boot = &dispatch.BootError{
	ID: "1a2b3c4d", Class: "NameError", Message: "undefined <b> password=hunter2", Backtrace: "/app/config/x.rb:3:in `y'\n/usr/lib/ruby/gems/3.1.0/gems/z.rb:1",
	File: "/app/config/x.rb", Line: "3", Excerpt: "  2: a = 1\n  3: b = <c>\n",
}

func TestTheDevelopmentPageShowsWhatWentWrong(t *testing.T) {
	var ctx fasthttp.RequestCtx
	Pages{Friendly: true}.Boot(&ctx, boot)
	body := string(ctx.Response.Body())
	for _, want := range []string{"NameError", "undefined &lt;b&gt;", "/app/config/x.rb:3", "b = &lt;c&gt;", `class="current"`, `class="app"`, "1a2b3c4d"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(body, "hunter2") || ctx.Response.StatusCode() != 500 {
		t.Errorf("status %d, or a secret on the page", ctx.Response.StatusCode())
	}
}

func TestTheProductionPageShowsTheIDOnly(t *testing.T) {
	var ctx fasthttp.RequestCtx
	Pages{}.Boot(&ctx, boot)
	body := string(ctx.Response.Body())
	if !strings.Contains(body, "1a2b3c4d") || strings.Contains(body, "NameError") || strings.Contains(body, "/app/") {
		t.Errorf("the page is\n%s", body)
	}
}

func TestOverloadAsksToComeBack(t *testing.T) {
	var ctx fasthttp.RequestCtx
	Pages{}.Plain(&ctx, 503, "", "request 1")
	if string(ctx.Response.Header.Peek("Retry-After")) == "" || string(ctx.Response.Header.Peek("Cache-Control")) != "no-store" {
		t.Errorf("headers are\n%s", ctx.Response.Header.String())
	}
}

func TestTheAppsOwnPagesAreShownForErrorsOfTheServer(t *testing.T) {
	own := func(status int) []byte { return []byte("own page for " + http.StatusText(status)) }
	for name, c := range map[string]struct {
		pages  Pages
		status int
		want   bool
	}{
		"an error of the server":               {Pages{Public: own}, 500, true},
		"a queue that is full":                 {Pages{Public: own}, 503, true},
		"nothing found":                        {Pages{Public: own}, 404, true},
		"a malformed request":                  {Pages{Public: own}, 400, false},
		"friendly pages say what is wrong":     {Pages{Public: own, Friendly: true}, 500, false},
		"an app that has none":                 {Pages{Public: func(int) []byte { return nil }}, 500, false},
		"a server that serves no static files": {Pages{}, 500, false},
	} {
		var ctx fasthttp.RequestCtx
		c.pages.Plain(&ctx, c.status, "", "request 1")
		if got := strings.HasPrefix(string(ctx.Response.Body()), "own page"); got != c.want || ctx.Response.StatusCode() != c.status {
			t.Errorf("%s: %d %.40s", name, ctx.Response.StatusCode(), ctx.Response.Body())
		}
	}
}
