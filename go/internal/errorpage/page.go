// Package errorpage renders what the engine itself has to say to a client.
package errorpage

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/dispatch"
)

//go:embed page.html
var pageText string

//go:embed development.html
var developmentText string

var (
	page        = template.Must(template.New("page").Parse(pageText))
	development = template.Must(template.New("development").Parse(developmentText))
)

// Pages renders error pages. Friendly ones (Passenger's friendly_error_pages)
// show what went wrong to whoever asks; they are for development.
type Pages struct {
	Friendly bool
	// Public gives the app's own page for a status of 404 or of 500 and more, nil
	// if it has none. It is used where pages are not friendly.
	Public func(status int) []byte
}

// explanations say in a sentence what a status means for a visitor.
var explanations = map[int]string{
	http.StatusBadGateway:         "The application ended before it had answered. Please try again.",
	http.StatusServiceUnavailable: "This site has more visitors at the moment than it can serve. Please try again in a little while.",
	http.StatusGatewayTimeout:     "The application took too long to answer. Please try again.",
}

type plain struct {
	Status      int
	Title       string
	Explanation string
	Reference   string
}

// Plain answers with a status and one sentence. reason, if not empty, is
// about the request itself and is shown to everybody.
func (p Pages) Plain(ctx *fasthttp.RequestCtx, status int, reason, reference string) {
	if reason == "" {
		reason = explanations[status]
	}
	if custom := p.public(status); custom != nil {
		write(ctx, status, custom)
	} else {
		render(ctx, status, page, plain{status, http.StatusText(status), reason, reference})
	}
	if status == http.StatusServiceUnavailable {
		ctx.Response.Header.Set("Retry-After", "1")
	}
}

// public is the app's own page; what is wrong with a request itself is better
// told by the engine.
func (p Pages) public(status int) []byte {
	if p.Friendly || p.Public == nil || status != http.StatusNotFound && status < http.StatusInternalServerError {
		return nil
	}
	return p.Public(status)
}

// frame is a line of a backtrace.
type frame struct {
	Text string
	App  bool // in the app's own code
}

type detail struct {
	Status    int
	Title     string
	Class     string
	Message   string
	Place     string
	Excerpt   []excerptLine
	Frames    []frame
	Reference string
	Hint      string
}

type excerptLine struct {
	Number, Text string
	Current      bool
}

// Boot answers a request that the app cannot serve because it does not start.
func (p Pages) Boot(ctx *fasthttp.RequestCtx, err *dispatch.BootError) {
	if !p.Friendly {
		p.Plain(ctx, http.StatusInternalServerError, "The application could not be started.", "error id "+err.ID)
		return
	}
	d := detail{
		Status: http.StatusInternalServerError, Title: "The application could not be started",
		Class: err.Class, Message: Redact(err.Message), Frames: frames(err.Backtrace), Reference: "error id " + err.ID,
		Hint: "Mend the error and load this page again: the server then tries once more.",
	}
	if err.File != "" {
		d.Place = err.File + ":" + err.Line
	}
	for _, line := range strings.Split(strings.TrimRight(err.Excerpt, "\n"), "\n") {
		if number, text, ok := strings.Cut(line, ":"); ok {
			number = strings.TrimSpace(number)
			d.Excerpt = append(d.Excerpt, excerptLine{number, Redact(strings.TrimPrefix(text, " ")), number == err.Line})
		}
	}
	render(ctx, d.Status, development, d)
}

// App answers a request in which the app raised an exception.
func (p Pages) App(ctx *fasthttp.RequestCtx, err *dispatch.AppError, requestID string) {
	if !p.Friendly {
		p.Plain(ctx, http.StatusInternalServerError, "The application ran into an error with this request.", "request "+requestID)
		return
	}
	render(ctx, http.StatusInternalServerError, development, detail{
		Status: http.StatusInternalServerError, Title: "The application raised an exception",
		Class: err.Class, Message: Redact(err.Message), Frames: frames(err.Backtrace), Reference: "request " + requestID,
		Hint: "The same lines are in the log.",
	})
}

func render(ctx *fasthttp.RequestCtx, status int, t *template.Template, data any) {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		b.Reset()
		b.WriteString(strconv.Itoa(status) + " " + http.StatusText(status) + "\n")
	}
	write(ctx, status, b.Bytes())
}

func write(ctx *fasthttp.RequestCtx, status int, page []byte) {
	ctx.Response.Reset()
	ctx.Response.Header.DisableNormalizing()
	ctx.SetStatusCode(status)
	ctx.SetContentType("text/html; charset=utf-8")
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.SetBody(page)
}

var libraryPath = regexp.MustCompile(`/gems/|/rubygems/|/vendor_ruby/|/lib/ruby/|/bundler/|<internal:|/phusion_passenger/`)

func frames(backtrace string) []frame {
	var list []frame
	for _, line := range strings.Split(backtrace, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, frame{line, !libraryPath.MatchString(line)})
		}
	}
	return list
}

var (
	secretPair = regexp.MustCompile(`(?i)([\w.-]*(?:password|passwd|secret|token|api_?key|private_?key|credential)[\w.-]*["']?\s*(?:=>|[:=])\s*)("[^"]*"|'[^']*'|[^\s,;)}]+)`)
	secretURL  = regexp.MustCompile(`(\w+://[^\s:/@]*):[^\s/@]+@`)
)

// Redact takes what looks like a secret out of a text: values beside names
// such as password or token, and passwords in URLs.
func Redact(text string) string {
	text = secretURL.ReplaceAllString(text, "$1:[redacted]@")
	return secretPair.ReplaceAllString(text, "$1[redacted]")
}
