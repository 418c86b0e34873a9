package httpd

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"passenger/go/internal/link"
)

func newExchange(http11 bool) *Exchange {
	return &Exchange{HTTP11: http11, Method: []byte("GET"), Conn: &Conn{localAddr: "::1", localPort: "3000"}}
}

func TestHostsAreSplitIntoNameAndPort(t *testing.T) {
	for host, want := range map[string][2]string{
		"example.org":      {"example.org", "80"},
		"example.org:8080": {"example.org", "8080"},
		"example.org:":     {"example.org", "80"},
		"[::1]":            {"[::1]", "80"},
		"[::1]:81":         {"[::1]", "81"},
		"127.0.0.1:3000":   {"127.0.0.1", "3000"},
	} {
		x := newExchange(true)
		x.Host = []byte(host)
		if err := x.parseHost(); err != nil || x.Server != want[0] || x.Port != want[1] {
			t.Errorf("%s: %s %s, %v", host, x.Server, x.Port, err)
		}
	}
	for _, host := range []string{"", ":80", "[::1", "[::1]x", "a b", "a/b", "a:b", "a:123456", "a\x00", "a@b", "\"a\""} {
		x := newExchange(true)
		x.Host = []byte(host)
		if err := x.parseHost(); err == nil && host != "" {
			t.Errorf("%q is accepted as %s %s", host, x.Server, x.Port)
		}
	}
}

func TestWithoutAHostTheServersOwnAddressIsTold(t *testing.T) {
	x := newExchange(false)
	if err := x.parseHost(); err != nil || x.Server != "[::1]" || x.Port != "3000" {
		t.Errorf("%s %s, %v", x.Server, x.Port, err)
	}
	if err := newExchange(true).parseHost(); err == nil {
		t.Error("HTTP/1.1 without Host is accepted")
	}
}

func TestFormsOfTheTarget(t *testing.T) {
	for target, want := range map[string][3]string{
		"/":                {"/", "/", ""},
		"/a?b=c?d":         {"/a?b=c?d", "/a", "b=c?d"},
		"/a?":              {"/a?", "/a", ""},
		"//a/../b":         {"//a/../b", "//a/../b", ""},
		"/a#b?c":           {"/a", "/a", ""},
		"http://h/p?q":     {"/p?q", "/p", "q"},
		"HTTPS://user@h:1": {"/", "/", ""},
		"http://h?q":       {"/?q", "/", "q"},
	} {
		x := newExchange(true)
		if err := x.parseTarget([]byte(target)); err != nil || string(x.Target) != want[0] || string(x.Path) != want[1] || string(x.Query) != want[2] {
			t.Errorf("%s: %q %q %q, %v", target, x.Target, x.Path, x.Query, err)
		}
	}
	for _, target := range []string{"", "a", "*", "ftp://h/", "http:///p", "http://", "/a b", "/a\x00", "/\x7f"} {
		if err := newExchange(true).parseTarget([]byte(target)); err == nil {
			t.Errorf("%q is accepted", target)
		}
	}
}

func TestTooManyFieldsAreRefusedAndRepeatedOnesChained(t *testing.T) {
	x := newExchange(true)
	if err := x.parseFields([]byte("X-A: 1\r\nAccept: a\r\nx-a: 2\r\naccept:  b \r\nX-A: 3\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	var values []string
	for i := 0; ; i = x.Fields[i].Next {
		values = append(values, string(x.Fields[i].Value))
		if x.Fields[i].Next == 0 {
			break
		}
	}
	if strings.Join(values, "") != "123" || string(x.Fields[0].Name) != "HTTP_X_A" {
		t.Errorf("%v under %s", values, x.Fields[0].Name)
	}
	if x.Fields[1].Key != link.LookupEnvKey([]byte("HTTP_ACCEPT")) || string(x.Fields[3].Value) != "b" || !x.Fields[3].Joined {
		t.Errorf("Accept: %+v %+v", x.Fields[1], x.Fields[3])
	}
	err := newExchange(true).parseFields([]byte(strings.Repeat("X: y\r\n", maxFields+1) + "\r\n"))
	if p, ok := err.(*ParseError); !ok || p.Status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("too many fields: %v", err)
	}
}

func TestFieldsThatSpeakForTheServerAreDropped(t *testing.T) {
	x := newExchange(true)
	raw := "X-Sendfile-Type: X-Accel-Redirect\r\nx-accel-mapping: /=/\r\nProxy: p\r\nX-Sendfile-Types: kept\r\nX-Accel-Mapping-2: kept\r\n\r\n"
	if err := x.parseFields([]byte(raw)); err != nil {
		t.Fatal(err)
	}
	if len(x.Fields) != 2 || string(x.Fields[0].Name) != "HTTP_X_SENDFILE_TYPES" || string(x.Fields[1].Name) != "HTTP_X_ACCEL_MAPPING_2" {
		t.Errorf("the fields are %+v", x.Fields)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("/a?b"), []byte("Host: a\r\nX: y\r\nX: z\r\n\r\n"))
	f.Add([]byte("http://u@h:1/p"), []byte("Host: [::1]:3\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add([]byte("*"), []byte("A_B: c\r\nProxy: x\r\n : y\r\n\r\n"))
	f.Fuzz(func(t *testing.T, target, fields []byte) {
		x := newExchange(true)
		if x.parseFields(fields) != nil || x.parseTarget(target) != nil || x.parseHost() != nil {
			return
		}
		if len(x.Path) == 0 || x.Path[0] != '/' || bytes.ContainsAny(x.Target, "\r\n \x00#") {
			t.Errorf("target %q, path %q", x.Target, x.Path)
		}
		for i, field := range x.Fields {
			if field.Key == 0 && !bytes.HasPrefix(field.Name, []byte("HTTP_")) {
				t.Errorf("field %q", field.Name)
			}
			if bytes.ContainsAny(field.Value, "\n\x00") || field.Next != 0 && field.Next <= i {
				t.Errorf("field %d: %+v", i, field)
			}
		}
	})
}
