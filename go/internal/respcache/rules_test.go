package respcache

import (
	"bytes"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"passenger/go/internal/httpd"
)

func TestWhichResponsesAreStored(t *testing.T) {
	for name, c := range map[string]struct {
		fields []string
		stored bool
	}{
		"one with a lifetime is":                                          {[]string{"Cache-Control: max-age=60"}, true},
		"one with a lifetime for shared caches is":                        {[]string{"Cache-Control: s-maxage=60"}, true},
		"the lifetime for shared caches counts more than the other":       {[]string{"Cache-Control: max-age=60, s-maxage=0"}, false},
		"one with a date of expiry is":                                    {[]string{"Expires: Wed, 01 May 2024 12:01:00 GMT"}, true},
		"one that has expired is not":                                     {[]string{"Expires: Wed, 01 May 2024 11:59:00 GMT"}, false},
		"a date of expiry that is none has passed":                        {[]string{"Expires: 0"}, false},
		"max-age counts more than a date of expiry":                       {[]string{"Cache-Control: max-age=0", "Expires: Wed, 01 May 2024 12:01:00 GMT"}, false},
		"one without lifetime is not, whatever its age":                   {[]string{"Last-Modified: Mon, 01 Jan 2018 00:00:00 GMT", "ETag: \"a\""}, false},
		"public alone gives no lifetime":                                  {[]string{"Cache-Control: public"}, false},
		"header names and directives may be written in capitals":          {[]string{"CACHE-CONTROL: Public, Max-Age=60"}, true},
		"a quoted lifetime counts":                                        {[]string{`Cache-Control: max-age="60"`}, true},
		"a lifetime that is no number is none":                            {[]string{"Cache-Control: max-age=6O"}, false},
		"of two lifetimes the shorter counts":                             {[]string{"Cache-Control: max-age=60", "Cache-Control: max-age=0"}, false},
		"private is not":                                                  {[]string{"Cache-Control: private, max-age=60"}, false},
		"private for some fields is not":                                  {[]string{`Cache-Control: private="x", max-age=60`}, false},
		"no-store is not":                                                 {[]string{"Cache-Control: no-store, max-age=60"}, false},
		"no-cache is not":                                                 {[]string{"Cache-Control: no-cache, max-age=60"}, false},
		"no-cache for some fields is not":                                 {[]string{`Cache-Control: max-age=60, no-cache="Set-Cookie"`}, false},
		"no-store on a second line is seen":                               {[]string{"Cache-Control: max-age=60", "cache-control: no-store"}, false},
		"a quoted string without end spoils it":                           {[]string{`Cache-Control: max-age=60, x="a, no-store`}, false},
		"what stands in quotes is no directive":                           {[]string{`Cache-Control: max-age=60, x="a\", no-store"`}, true},
		"Pragma is obeyed":                                                {[]string{"Cache-Control: max-age=60", "Pragma: no-cache"}, false},
		"one that sets a cookie never is":                                 {[]string{publicMinute, "Set-Cookie: a=b"}, false},
		"one that sets a cookie never is, in any spelling":                {[]string{publicMinute, "set-cookie: a=b"}, false},
		"one that varies by everything is not":                            {[]string{publicMinute, "Vary: *"}, false},
		"one that varies by everything is not, among others":              {[]string{publicMinute, "Vary: Accept, *"}, false},
		"one that varies by a name that no request has is not":            {[]string{publicMinute, "Vary: X_Y"}, false},
		"one that varies by the host is":                                  {[]string{publicMinute, "Vary: Host"}, true},
		"one that asks for authentication is not":                         {[]string{publicMinute, "WWW-Authenticate: Basic"}, false},
		"one that names a file is not":                                    {[]string{publicMinute, "X-Sendfile: /etc/motd"}, false},
		"one that names a location is not":                                {[]string{publicMinute, "X-Accel-Redirect: /x"}, false},
		"one with Content-Range is not":                                   {[]string{publicMinute, "Content-Range: bytes 0-1/2"}, false},
		"one whose Connection names fields is not":                        {[]string{publicMinute, "Connection: X-Secret", "X-Secret: 1"}, false},
		"one that closes the connection is":                               {[]string{publicMinute, "Connection: close"}, true},
		"a page that is not there is":                                     {[]string{"404", publicMinute}, true},
		"a page that is gone is":                                          {[]string{"410", publicMinute}, true},
		"a permanent redirect is":                                         {[]string{"301", publicMinute, "Location: /x"}, true},
		"another permanent redirect is":                                   {[]string{"308", publicMinute, "Location: /x"}, true},
		"a temporary redirect is not":                                     {[]string{"302", publicMinute, "Location: /x"}, false},
		"an error is not":                                                 {[]string{"500", publicMinute}, false},
		"a refusal is not":                                                {[]string{"403", publicMinute}, false},
		"a part is not":                                                   {[]string{"206", publicMinute}, false},
		"one that is as old as it may get is not":                         {[]string{publicMinute, "Age: 60"}, false},
		"one that is younger is":                                          {[]string{publicMinute, "Age: 59"}, true},
		"one that has no life but may be served stale is":                 {[]string{"Cache-Control: max-age=0, stale-while-revalidate=60"}, true},
		"one that has no life and must be revalidated is not":             {[]string{"Cache-Control: max-age=0, stale-while-revalidate=60, must-revalidate"}, false},
		"must-understand does not weaken no-store":                        {[]string{"Cache-Control: must-understand, no-store, max-age=60"}, false},
		"a compressed response is":                                        {[]string{publicMinute, "Content-Encoding: gzip"}, true},
		"a body of the largest size is":                                   {[]string{publicMinute, "X-Size: 16384"}, true},
		"a larger body is not":                                            {[]string{publicMinute, "X-Size: 16385"}, false},
		"more headers than the share of an entry are not":                 {[]string{publicMinute, "X-Long: " + strings.Repeat("x", 40_000)}, false},
		"a response that varies by more than a few request fields is not": {[]string{publicMinute, "Vary: " + strings.Repeat("a, b, c, d, ", 5) + "e"}, false},
	} {
		body := "hello"
		for _, f := range c.fields {
			switch f {
			case "X-Size: 16384":
				body = strings.Repeat("x", 16<<10)
			case "X-Size: 16385":
				body = strings.Repeat("x", 16<<10+1)
			}
		}
		s := newSite(t, Options{Bytes: 1 << 20}, page(body, c.fields...))
		first := s.ask("GET", "/a")
		stored := s.cache.Status().Stores > 0
		second := s.ask("GET", "/a")
		if stored != c.stored || (second.Header.Get("Age") != "") != (stored || strings.Contains(name, "as old as")) {
			t.Errorf("%s: stored: %v, %v", name, stored, second.Header)
		}
		if second.body != first.body || second.StatusCode != first.StatusCode || second.body != body {
			t.Errorf("%s: %d %q, then %d %q", name, first.StatusCode, first.body, second.StatusCode, second.body)
		}
	}
}

func TestWhatGoesPastTheCache(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		fields []string
		asked  int64 // calls of the app while there is a stored response that is 10 s old
		stores int64 // if there was none
	}{
		"a plain request is answered":                      {"GET", nil, 0, 1},
		"so is a HEAD":                                     {"HEAD", nil, 0, 0},
		"no-cache asks the app, which may be stored":       {"GET", []string{"Cache-Control: no-cache"}, 1, 1},
		"so does max-age=0":                                {"GET", []string{"Cache-Control: max-age=0"}, 1, 1},
		"so does Pragma":                                   {"GET", []string{"Pragma: no-cache"}, 1, 1},
		"but not with Cache-Control":                       {"GET", []string{"Pragma: no-cache", "Cache-Control: max-stale"}, 0, 1},
		"no-store asks the app and stores nothing":         {"GET", []string{"Cache-Control: no-store"}, 1, 0},
		"so does a range":                                  {"GET", []string{"Range: bytes=0-1"}, 1, 0},
		"so does Authorization":                            {"GET", []string{"Authorization: Basic x"}, 1, 0},
		"so does an upgrade":                               {"GET", []string{"Upgrade: websocket"}, 1, 0},
		"so does If-Match":                                 {"GET", []string{`If-Match: "a"`}, 1, 0},
		"a response that is older than wanted is not used": {"GET", []string{"Cache-Control: max-age=9"}, 1, 1},
		"one that is not is":                               {"GET", []string{"Cache-Control: max-age=10"}, 0, 1},
		"a response with too little left is not used":      {"GET", []string{"Cache-Control: min-fresh=51"}, 1, 1},
		"one with enough left is":                          {"GET", []string{"Cache-Control: min-fresh=50"}, 0, 1},
		"only-if-cached gets what is there":                {"GET", []string{"Cache-Control: only-if-cached"}, 0, 0},
		"OPTIONS asks the app and stores nothing":          {"OPTIONS", nil, 1, 0},
	} {
		s := newSite(t, Options{}, page("hello", publicMinute))
		s.ask(c.method, "/empty", c.fields...)
		if got := s.cache.Status().Stores; int64(got) != c.stores {
			t.Errorf("%s: %d stores", name, got)
		}
		s.ask("GET", "/a")
		s.advance(10 * time.Second)
		if got := s.asked(func() { s.ask(c.method, "/a", c.fields...) }); got != c.asked {
			t.Errorf("%s: the app was asked %d times", name, got)
		}
	}
}

func TestAGetWithABodyIsTheAppsAlone(t *testing.T) {
	s := newSite(t, Options{}, page("hello", publicMinute))
	s.ask("GET", "/a")
	send := func() {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("GET /a HTTP/1.1\r\nHost: example.org\r\nContent-Length: 3\r\nConnection: close\r\n\r\na=b")); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(c); err != nil || !strings.HasPrefix(b.String(), "HTTP/1.1 200") {
			t.Fatalf("%q, %v", b.String(), err)
		}
	}
	if n := s.asked(send); n != 1 {
		t.Errorf("the app was asked %d times", n)
	}
	if got := s.cache.Status(); got.Stores != 1 || got.Bypassed != 1 {
		t.Errorf("%+v", got)
	}
}

func TestOnlyIfCachedGets504WithoutAskingTheApp(t *testing.T) {
	s := newSite(t, Options{}, page("hello", publicMinute))
	for _, extra := range []string{"X: y", "Range: bytes=0-1"} {
		var a answer
		if n := s.asked(func() { a = s.ask("GET", "/a", "Cache-Control: only-if-cached", extra) }); n != 0 || a.StatusCode != 504 {
			t.Errorf("%s: %d after %d calls", extra, a.StatusCode, n)
		}
	}
}

func TestRequestsWithCookiesShareOnlyWhatIsPublicByName(t *testing.T) {
	for control, want := range map[string][3]int64{ // calls for: cookie, cookie again, none after that
		"public, max-age=60":  {1, 0, 0},
		"s-maxage=60":         {1, 0, 0},
		"max-age=60":          {1, 1, 1},
		"private, max-age=60": {1, 1, 1},
	} {
		s := newSite(t, Options{}, page("hello", "Cache-Control: "+control))
		for i, fields := range [][]string{{"Cookie: s=1"}, {"Cookie: s=2"}, nil} {
			if n := s.asked(func() { s.ask("GET", "/a", fields...) }); n != want[i] {
				t.Errorf("%s, request %d: the app was asked %d times", control, i, n)
			}
		}
	}
	s := newSite(t, Options{}, page("for visitors", "Cache-Control: max-age=60"))
	s.ask("GET", "/a")
	if n := s.asked(func() { s.ask("GET", "/a") }); n != 0 {
		t.Error("without cookies it is not shared either")
	}
	if n := s.asked(func() { s.ask("GET", "/a", "Cookie: s=1") }); n != 1 {
		t.Error("a visitor's page is given to somebody with a cookie")
	}
}

func TestWhatIsKeptApart(t *testing.T) {
	for name, c := range map[string]struct {
		one, other []string
		apart      bool
	}{
		"hosts":                                    {[]string{"Host: a"}, []string{"Host: b"}, true},
		"ports":                                    {[]string{"Host: a:1"}, []string{"Host: a:2"}, true},
		"hosts in capitals are not":                {[]string{"Host: a"}, []string{"Host: A"}, false},
		"forwarded schemes":                        {nil, []string{"X-Forwarded-Proto: https"}, true},
		"forwarded hosts":                          {nil, []string{"X-Forwarded-Host: evil.example"}, true},
		"forwarded hosts by the standard field":    {nil, []string{"Forwarded: host=evil.example"}, true},
		"forwarded schemes of older proxies":       {nil, []string{"X-Forwarded-Ssl: on"}, true},
		"client addresses are not":                 {nil, []string{"X-Forwarded-For: 1.2.3.4"}, false},
		"data formats":                             {nil, []string{"Accept: application/json"}, true},
		"browsers are not":                         {[]string{"Accept: text/html,application/xml;q=0.9,*/*;q=0.8"}, []string{"Accept: */*"}, false},
		"lists that end in anything are not":       {[]string{"Accept: application/json, */*"}, nil, false},
		"anything else is":                         {[]string{"Accept: x/*/*"}, nil, true},
		"browsers are not, nor those who say none": {[]string{"Accept: text/html,*/*"}, nil, false},
		"partial pages":                            {nil, []string{"Turbo-Frame: x"}, true},
		"scripts' requests":                        {nil, []string{"X-Requested-With: XMLHttpRequest"}, true},
		"user agents are not":                      {[]string{"User-Agent: a"}, []string{"User-Agent: b"}, false},
		"values of the chosen cookie":              {[]string{"Cookie: x=1; lang=de"}, []string{"Cookie: x=1; lang=en"}, true},
		"the chosen cookie and none":               {[]string{"Cookie: x=1"}, []string{"Cookie: lang="}, true},
		"other cookies are not":                    {[]string{"Cookie: x=1; lang=de"}, []string{"Cookie: lang=de; x=2; olang=fr"}, false},
	} {
		s := newSite(t, Options{VaryByCookie: "lang"}, page("hello", publicMinute))
		s.ask("GET", "/a", c.one...)
		if n := s.asked(func() { s.ask("GET", "/a", c.other...) }); (n == 1) != c.apart {
			t.Errorf("%s: the app was asked %d times", name, n)
		}
		if n := s.asked(func() { s.ask("GET", "/a?x", c.one...) }); n != 1 {
			t.Errorf("%s: a query makes no difference", name)
		}
		if n := s.asked(func() { s.ask("GET", "/a", c.one...) }); n != 0 {
			t.Errorf("%s: one drove out the other", name)
		}
	}
}

func TestASchemeOfItsOwn(t *testing.T) {
	c := New(Options{})
	calls := 0
	handler := c.Handler(func(x *httpd.Exchange) { calls++; page("x", publicMinute)(x) })
	for _, https := range []bool{false, true, false, true} {
		x := newExchange("GET", "/a")
		x.HTTPS = https
		handler(x)
	}
	if calls != 2 {
		t.Errorf("the app was asked %d times", calls)
	}
	x := newExchange("POST", "/a")
	handler(x)
	if s := c.Status(); s.Entries != 0 || s.Invalidations != 2 {
		t.Errorf("after a POST: %+v", s)
	}
}

func TestResponsesAreSelectedByTheFieldsNamedInVary(t *testing.T) {
	s := newSite(t, Options{}, func(x *httpd.Exchange) {
		var language string
		for _, f := range x.Fields {
			if string(f.Name) == "HTTP_X_LANGUAGE" {
				language += string(f.Value)
			}
		}
		if language == "none" {
			page("none", publicMinute)(x)
			return
		}
		page("in "+language, publicMinute, "Vary: X-Language", "vary: Accept-Encoding")(x)
	})
	for _, c := range []struct {
		fields []string
		body   string
		asked  int64
	}{
		{[]string{"X-Language: de"}, "in de", 1},
		{[]string{"X-Language: en"}, "in en", 1},
		{[]string{"x-language:  de "}, "in de", 0},
		{[]string{"X-Language: en"}, "in en", 0},
		{[]string{"X-Language: en", "Accept-Encoding: gzip"}, "in en", 1},
		{[]string{"X-Language: d", "X-Language: e"}, "in de", 1},
		{nil, "in ", 1},
		{[]string{"X-Language: none"}, "none", 1},
		{[]string{"X-Language: none"}, "none", 0},
	} {
		var a answer
		if n := s.asked(func() { a = s.ask("GET", "/a", c.fields...) }); n != c.asked || a.body != c.body {
			t.Errorf("%q: %q after %d calls", c.fields, a.body, n)
		}
	}
}

func TestAnAppThatKeepsChangingItsVaryIsFollowed(t *testing.T) {
	s := newSite(t, Options{}, nil)
	for i := range 3 * maxSpecs {
		name := string(rune('A' + i))
		s.become(page("by "+name, publicMinute, "Vary: X-"+name))
		s.ask("GET", "/a", "Cache-Control: no-cache")
		if a := s.ask("GET", "/a"); a.body != "by "+name || a.Header.Get("Age") == "" {
			t.Errorf("by %s: %q", name, a.body)
		}
	}
	if got := s.cache.Status(); got.Entries > maxSpecs {
		t.Errorf("%+v", got)
	}
	s.cache.Purge(Purge{All: true})
	if got := s.cache.Status(); got.Entries != 0 || got.Bytes != 0 {
		t.Errorf("after the purge: %+v", got)
	}
}

func TestAHitIsWhatTheAppGaveAndItsAge(t *testing.T) {
	s := newSite(t, Options{}, page("hello", publicMinute, "content-type: text/plain", "X-a: 1", "X-a: 2", "Age: 3", "Connection: keep-alive", "Link: </x>", "Content-Encoding: identity"))
	s.ask("GET", "/a")
	s.advance(10*time.Second + 900*time.Millisecond)
	a := s.ask("GET", "/a")
	if a.StatusCode != 200 || a.body != "hello" || a.ContentLength != 5 {
		t.Errorf("%d %q, length %d", a.StatusCode, a.body, a.ContentLength)
	}
	for name, want := range map[string]string{"Age": "13", "Content-Type": "text/plain", "X-A": "1,2", "Link": "</x>", "Cache-Control": "public, max-age=60", "Content-Encoding": "identity"} {
		if got := strings.Join(a.Header.Values(name), ","); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if len(a.Header.Values("Date")) != 1 || len(a.Header.Values("Age")) != 1 {
		t.Errorf("%v", a.Header)
	}
	s.advance(46 * time.Second)
	if n := s.asked(func() { s.ask("GET", "/a") }); n != 0 {
		t.Error("it was not good for a minute")
	}
	s.advance(time.Second)
	if n := s.asked(func() { s.ask("GET", "/a") }); n != 1 {
		t.Error("it was good for more than a minute")
	}
}

func TestConditionsAreEvaluatedOnHits(t *testing.T) {
	s := newSite(t, Options{}, page("hello", publicMinute, `ETag: W/"v1"`, "Last-Modified: Wed, 01 May 2024 10:00:00 GMT", "Vary: Accept-Encoding", "X-Other: 1", "Content-Type: text/plain"))
	s.ask("GET", "/a")
	undated := newSite(t, Options{}, page("hello", publicMinute))
	undated.ask("GET", "/a")
	for _, c := range []struct {
		site   *site
		fields []string
		status int
	}{
		{s, []string{`If-None-Match: "v1"`}, 304},
		{s, []string{`If-None-Match: W/"v1"`}, 304},
		{s, []string{`If-None-Match: "v,0", W/"v1"`}, 304},
		{s, []string{`If-None-Match: "v0"`, `If-None-Match: "v1"`}, 304},
		{s, []string{`If-None-Match: *`}, 304},
		{s, []string{`If-None-Match: "v2"`}, 200},
		{s, []string{`If-None-Match: v1`}, 200},
		{s, []string{`If-None-Match: "v1`}, 200},
		{s, []string{`If-None-Match: "v2"`, "If-Modified-Since: Wed, 01 May 2024 10:00:00 GMT"}, 200},
		{s, []string{"If-Modified-Since: Wed, 01 May 2024 10:00:00 GMT"}, 304},
		{s, []string{"If-Modified-Since: Wed, 01 May 2024 09:59:59 GMT"}, 200},
		{s, []string{"If-Modified-Since: yesterday"}, 200},
		{undated, []string{"If-Modified-Since: Wed, 01 May 2024 12:00:00 GMT"}, 304},
		{undated, []string{"If-Modified-Since: Wed, 01 May 2024 11:59:59 GMT"}, 200},
		{undated, []string{`If-None-Match: "v1"`}, 200},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			var a answer
			n := c.site.asked(func() { a = c.site.ask(method, "/a", c.fields...) })
			if n != 0 || a.StatusCode != c.status {
				t.Errorf("%s with %q: %d after %d calls", method, c.fields, a.StatusCode, n)
			}
			if a.StatusCode == 304 && (a.body != "" || a.Header.Get("X-Other") != "" || a.Header.Get("Cache-Control") == "" || a.Header.Get("Age") == "") {
				t.Errorf("%q: %v %q", c.fields, a.Header, a.body)
			}
		}
	}
	a := s.ask("GET", "/a", `If-None-Match: "v1"`)
	if a.Header.Get("ETag") != `W/"v1"` || a.Header.Get("Vary") == "" || a.Header.Get("Last-Modified") != "" {
		t.Errorf("%v", a.Header)
	}
	missing := newSite(t, Options{}, page("", "404", publicMinute))
	missing.ask("GET", "/a")
	if a := missing.ask("GET", "/a", "If-None-Match: *"); a.StatusCode != 404 {
		t.Errorf("a 404 with a condition: %d", a.StatusCode)
	}
}

func TestTheAppsOwn304IsNotAPage(t *testing.T) {
	s := newSite(t, Options{}, func(x *httpd.Exchange) {
		for _, f := range x.Fields {
			if f.Key.String() == "HTTP_IF_NONE_MATCH" {
				page("", "304", publicMinute, `ETag: "v1"`)(x)
				return
			}
		}
		page("hello", publicMinute, `ETag: "v1"`)(x)
	})
	if a := s.ask("GET", "/a", `If-None-Match: "v1"`); a.StatusCode != 304 {
		t.Errorf("status %d", a.StatusCode)
	}
	if a := s.ask("GET", "/a"); a.StatusCode != 200 || a.body != "hello" {
		t.Errorf("%d %q", a.StatusCode, a.body)
	}
	if n := s.asked(func() { s.ask("GET", "/a") }); n != 0 {
		t.Error("the 304 has been remembered as a response that cannot be stored")
	}
}

func TestAHeadIsAnsweredFromAStoredGetButStoresNothing(t *testing.T) {
	s := newSite(t, Options{}, page("hello", publicMinute, "X-A: 1"))
	s.ask("HEAD", "/a")
	if got := s.cache.Status(); got.Stores != 0 || got.Misses != 1 {
		t.Errorf("%+v", got)
	}
	s.ask("GET", "/a")
	var a answer
	if n := s.asked(func() { a = s.ask("HEAD", "/a") }); n != 0 || a.ContentLength != 5 || a.body != "" || a.Header.Get("X-A") != "1" {
		t.Errorf("%v %d %q after %d calls", a.Header, a.ContentLength, a.body, n)
	}
	s.become(page("", publicMinute))
	s.ask("GET", "/empty")
	if a := s.ask("HEAD", "/empty"); a.Header.Get("Content-Length") != "0" || a.Header.Get("Age") == "" {
		t.Errorf("an empty body: %v", a.Header)
	}
	s.become(page("", "204", publicMinute))
	s.ask("GET", "/none")
	if a := s.ask("GET", "/none"); a.StatusCode != 204 || a.Header.Get("Content-Length") != "" || a.Header.Get("Age") == "" {
		t.Errorf("204: %v", a.Header)
	}
}

func TestBodiesThatComeInPiecesAreNotStored(t *testing.T) {
	s := newSite(t, Options{}, func(x *httpd.Exchange) {
		page("", publicMinute)(x)
		x.Ctx.Response.SetBodyStream(strings.NewReader("hello"), 5)
	})
	s.ask("GET", "/a")
	if a := s.ask("GET", "/a"); a.body != "hello" || s.cache.Status().Stores != 0 {
		t.Errorf("%q, %+v", a.body, s.cache.Status())
	}
}

func TestAConnectionThatIsTakenOverIsNotStored(t *testing.T) {
	s := newSite(t, Options{}, func(x *httpd.Exchange) {
		page("", publicMinute)(x)
		if err := x.TakeOver(func(c *httpd.Conn, _ []byte) {
			c.Write([]byte("HTTP/1.0 200 OK\r\n\r\nstream"))
			c.Close()
		}, func() {}); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if a := s.ask("GET", "/a", "HTTP/1.0"); a.body != "stream" {
			t.Errorf("%q", a.body)
		}
	}
	if got := s.cache.Status(); got.Stores != 0 {
		t.Errorf("%+v", got)
	}
}

func TestRequestsWithoutAHostGoPastTheCache(t *testing.T) {
	c := New(Options{})
	x := newExchange("GET", "/a")
	x.Host = nil
	c.Handler(page("hello", publicMinute))(x)
	if got := c.Status(); got.Stores != 0 || got.Bypassed != 1 {
		t.Errorf("%+v", got)
	}
}

func TestAKeyThatIsTooLongIsNotStored(t *testing.T) {
	s := newSite(t, Options{}, page("hello", publicMinute, "Vary: X-A"))
	s.ask("GET", "/"+strings.Repeat("a", maxKey))
	s.ask("GET", "/a", "X-A: "+strings.Repeat("a", maxKey))
	s.ask("GET", "/a", "Accept: "+strings.Repeat("a", maxKey))
	if got := s.cache.Status(); got.Stores != 0 {
		t.Errorf("%+v", got)
	}
	s.ask("GET", "/a", "X-A: b")
	if a := s.ask("GET", "/a", "X-A: "+strings.Repeat("a", maxKey)); a.Header.Get("Age") != "" {
		t.Error("a long value is answered with the response for another")
	}
}

func TestStatusesThatMeanErrors(t *testing.T) {
	for status, want := range map[int]bool{http.StatusInternalServerError: true, 502: true, 503: true, 504: true, 501: false, 404: false, 200: false} {
		if errorStatus(status) != want {
			t.Error(status)
		}
	}
}
