package compress

import (
	"strings"
	"testing"
)

var all = produced.With(Zstd)

func TestTheClientsWeightsDecideThenTheServersPreference(t *testing.T) {
	for header, want := range map[string]string{
		"":                                   "identity",
		"gzip":                               "gzip",
		"GZIP":                               "gzip",
		"x-gzip":                             "gzip",
		"X-Gzip;q=0.3":                       "gzip",
		"br":                                 "br",
		"gzip, deflate, br, zstd":            "br", // Chrome
		"gzip, deflate":                      "gzip",
		"deflate":                            "identity",
		"zstd, gzip":                         "zstd",
		"gzip;q=1.0, br;q=0.5":               "gzip",
		"gzip;q=0.5, br;q=1.0":               "br",
		"gzip;q=0.501,br;q=0.5":              "gzip",
		"gzip;q=0.001":                       "gzip",
		"gzip;q=0":                           "identity",
		"gzip;q=0.000, br;q=0.":              "identity",
		"*":                                  "br",
		"*;q=0.1":                            "br",
		"*, br;q=0":                          "zstd",
		"br;q=0, zstd;q=0, *":                "gzip",
		"*;q=0":                              "none",
		"*;q=0, gzip":                        "gzip",
		"*;q=0, identity":                    "identity",
		"*;q=0, identity;q=0.1":              "identity",
		"identity":                           "identity",
		"identity;q=0":                       "none",
		"identity;q=0, gzip":                 "gzip",
		"identity;q=0, gzip;q=0":             "none",
		"identity;q=0.5, gzip;q=0.4":         "identity",
		"identity;q=0.5, gzip;q=0.5":         "gzip",
		"identity, gzip;q=0.9":               "identity",
		"identity;q=0, *":                    "br",
		"gzip , br ; q=0.5":                  "gzip",
		"\tgzip\t;\tq=0.8\t,\tbr;q=0.7":      "gzip",
		"gzip;Q=0.8":                         "gzip",
		",,gzip,,":                           "gzip",
		"gzip;q=0, gzip":                     "identity",
		"gzip, x-gzip;q=0":                   "identity",
		"gzip;q=1.000":                       "gzip",
		"gzip;q=1.":                          "gzip",
		"gzip;q=1.001":                       "identity", // from here on: not in the grammar
		"gzip;q=2":                           "identity",
		"gzip;q=0.1234":                      "identity",
		"gzip;q=-1":                          "identity",
		"gzip;q=.5":                          "identity",
		"gzip;q=0,5":                         "identity",
		"gzip;q=0x5":                         "identity",
		"gzip;q=0.x":                         "identity",
		"gzip;q =0.5":                        "identity",
		"gzip;q= 0.5":                        "identity",
		"gzip;q":                             "identity",
		"gzip;q=":                            "identity",
		"gzip;":                              "identity",
		"gzip;level=9":                       "identity",
		"gzip;q=0.5;x=y":                     "identity",
		"gz ip":                              "identity",
		"gzip br":                            "identity",
		"gzip;q=oops, br;q=0.2":              "br",
		"identity;q=oops":                    "identity",
		"bx\x00\xff":                         "identity",
		strings.Repeat("a,", 1000) + "gzip":  "gzip",
		strings.Repeat(" ", 1000) + "gzip":   "gzip",
		"compress;q=1, identity;q=0, br;q=0": "none",
	} {
		c, ok := Accepted([]byte(header), true).Choose(all)
		if got := named(c, ok); got != want {
			t.Errorf("%.60q: %s instead of %s", header, got, want)
		}
	}
}

func named(c Coding, ok bool) string {
	if !ok {
		return "none"
	}
	return c.String()
}

func TestWithoutTheFieldTheBodyIsSentAsItIs(t *testing.T) {
	if c, ok := Accepted([]byte("gzip"), false).Choose(all); c != Identity || !ok {
		t.Errorf("%v %v", c, ok)
	}
	if c, ok := (Accept{}).Choose(all); c != Identity || !ok {
		t.Errorf("zero value: %v %v", c, ok)
	}
}

func TestOnlyWhatIsAvailableIsChosen(t *testing.T) {
	for name, one := range map[string]struct {
		header    string
		available Set
		want      string
	}{
		"the second best is there":           {"br, gzip;q=0.5", Set(0).With(Identity).With(Gzip), "gzip"},
		"only a form the client refuses":     {"gzip;q=0", Set(0).With(Gzip), "none"},
		"nothing":                            {"gzip", 0, "none"},
		"identity is not there":              {"br", Set(0).With(Gzip), "none"},
		"refused, but the rest is welcome":   {"*, gzip;q=0", Set(0).With(Gzip).With(Zstd), "zstd"},
		"the encoders have no zstd":          {"zstd, gzip;q=0.9", produced, "gzip"},
		"of equals, what the server prefers": {"gzip, zstd", Set(0).With(Gzip).With(Zstd), "zstd"},
	} {
		c, ok := Accepted([]byte(one.header), true).Choose(one.available)
		if got := named(c, ok); got != one.want {
			t.Errorf("%s: %s instead of %s", name, got, one.want)
		}
	}
}

func TestWeights(t *testing.T) {
	a := Accepted([]byte("gzip;q=0.25, *;q=0.125"), true)
	for c, want := range map[Coding]int{Gzip: 250, Brotli: 125, Zstd: 125, Identity: 125, codings: 0, 200: 0} {
		if got := a.Q(c); got != want {
			t.Errorf("%v: %d instead of %d", c, got, want)
		}
	}
	if q := Accepted([]byte("gzip"), true).Q(Identity); q <= 0 || q >= 1000 {
		t.Errorf("identity that is not named weighs %d", q)
	}
}

func TestCodingsHaveTheNamesOfTheRegistryAndTheirSuffixes(t *testing.T) {
	for c, want := range map[Coding][2]string{Identity: {"identity", ""}, Gzip: {"gzip", ".gz"}, Brotli: {"br", ".br"}, Zstd: {"zstd", ".zst"}, codings: {"unknown(4)", ""}} {
		if got := [2]string{c.String(), c.Suffix()}; got != want {
			t.Errorf("%d: %q", c, got)
		}
	}
	s := Set(0).With(Brotli).With(Brotli)
	if !s.Has(Brotli) || s.Has(Gzip) || s.Has(Identity) {
		t.Errorf("set %b", s)
	}
}

func TestTypesThatShrinkAreToldFromThoseThatDoNot(t *testing.T) {
	for contentType, want := range map[string]bool{
		"text/html": true, "text/html; charset=utf-8": true, "TEXT/HTML;charset=UTF-8": true, " text/plain ;x": true,
		"text/css": true, "text/javascript": true, "text/vnd.turbo-stream.html; charset=utf-8": true, "text/csv": true,
		"application/json": true, "Application/JSON; charset=utf-8": true, "application/vnd.api+json": true, "application/ld+JSON": true,
		"application/javascript": true, "application/wasm": true, "application/xml": true, "application/rss+xml": true, "image/svg+xml": true,
		"application/x-www-form-urlencoded": true, "application/xml-external-parsed-entity": true,
		"font/ttf": true, "font/otf": true, "application/vnd.ms-fontobject": true, "image/x-icon": true, "image/vnd.microsoft.icon": true, "image/bmp": true,
		"application/" + strings.Repeat("v", 200) + "+json": true,

		"": false, ";": false, "text": false, "text/": false, "html": false,
		"text/event-stream": false, "Text/Event-Stream; charset=utf-8": false,
		"image/png": false, "image/jpeg": false, "image/webp": false, "font/woff": false, "font/woff2": false, "video/mp4": false,
		"application/pdf": false, "application/zip": false, "application/gzip": false, "application/octet-stream": false,
		"multipart/x-mixed-replace": false, "application/json2": false, "xapplication/json": false, "application/pdf; a=+json": false,
		"application/" + strings.Repeat("v", 200): false,
	} {
		if got := Compressible([]byte(contentType)); got != want {
			t.Errorf("%.80q: %v", contentType, got)
		}
	}
}

func TestNegotiationAllocatesNothing(t *testing.T) {
	header, contentType := []byte("gzip, deflate, br;q=0.9, zstd, *;q=0.1"), []byte("Application/VND.ms-fontobject; charset=utf-8")
	if n := testing.AllocsPerRun(100, func() {
		if c, ok := Accepted(header, true).Choose(produced); !ok || c != Gzip || !Compressible(contentType) {
			t.Fatal(c, ok)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAccepted(f *testing.F) {
	for _, seed := range []string{"", "gzip", "br;q=0.5, *;q=0", "identity;q=0,,;q=1;", "x-gzip\t;\tQ=1.000", "*;q=0.1234"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		a := Accepted(header, true)
		for c := Identity; c < codings; c++ {
			if q := a.Q(c); q < 0 || q > 1000 {
				t.Fatalf("%q: %v weighs %d", header, c, q)
			}
		}
		c, ok := a.Choose(all)
		for other := Identity; other < codings; other++ {
			if !ok && a.Q(other) > 0 || ok && a.Q(other) > a.Q(c) {
				t.Fatalf("%q: %v, %v in spite of %v", header, c, ok, other)
			}
		}
		// What stands in front in another field of the same request cannot make a coding welcome that was refused.
		if doubled := append(append([]byte("gzip;q=0,"), header...), ','); Accepted(doubled, true).Q(Gzip) != 0 {
			t.Fatalf("%q makes gzip acceptable", doubled)
		}
	})
}
