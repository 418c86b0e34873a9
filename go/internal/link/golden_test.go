package link

import (
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The golden frames are shared with the Ruby specs; README.md beside them says
// what each one holds.
func golden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../../spec/fixtures/frames", name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenRequestsMeanWhatTheyMeanInRuby(t *testing.T) {
	connection := map[string]string{"SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "example.com", "SERVER_PORT": "8080",
		"REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": "50123", "HTTP_HOST": "example.com:8080"}
	for name, want := range map[string]struct {
		ParsedRequest
		receivedAt uint64
		body       string
	}{
		"request_get": {ParsedRequest{ID: 5<<24 | 3, Env: map[string]string{"REQUEST_METHOD": "GET", "REQUEST_URI": "/posts/1?page=2",
			"PATH_INFO": "/posts/1", "QUERY_STRING": "page=2", "HTTP_ACCEPT": "*/*", "HTTP_X_FLAVOUR": "vanilla"}}, 1_234_567_890_123, ""},
		"request_post_inline": {ParsedRequest{ID: 6<<24 | 4, BodyLength: 11, Env: map[string]string{"REQUEST_METHOD": "POST",
			"REQUEST_URI": "/posts", "PATH_INFO": "/posts", "QUERY_STRING": "", "CONTENT_LENGTH": "11",
			"CONTENT_TYPE": "application/x-www-form-urlencoded"}}, 2_000_000_000_000, "title=Hello"},
		"request_body_fd": {ParsedRequest{ID: 7<<24 | 5, BodyLength: 1 << 20, BodyInFD: true, HTTPS: true, Env: map[string]string{
			"REQUEST_METHOD": "PUT", "REQUEST_URI": "/files/1", "PATH_INFO": "/files/1", "QUERY_STRING": "",
			"CONTENT_LENGTH": "1048576", "CONTENT_TYPE": "application/octet-stream"}}, 3_000_000_000_000, ""},
	} {
		maps.Copy(want.Env, connection)
		message := golden(t, name)
		got, err := ParseRequest(message)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.ID != want.ID || got.BodyLength != want.BodyLength || got.BodyInFD != want.BodyInFD || got.HTTPS != want.HTTPS || string(got.Body) != want.body {
			t.Errorf("%s is %+v", name, got)
		}
		if !maps.Equal(got.Env, want.Env) {
			t.Errorf("%s has the environment %v, not %v", name, got.Env, want.Env)
		}
		if at := binary.LittleEndian.Uint64(message[24:]); at != want.receivedAt {
			t.Errorf("%s was complete at %d", name, at)
		}
	}
}

func TestGoldenResponsesMeanWhatTheyMeanInRuby(t *testing.T) {
	html := "Content-Type: text/html|Set-Cookie: a=1|Set-Cookie: b=2|"
	bytes8 := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	for name, want := range map[string]struct {
		frame   FrameType
		status  int
		headers string // of frames that begin a response
		rest    string
	}{
		"response_complete":    {FrameComplete, 200, html, "<p>Hello</p>"},
		"response_head":        {FrameHead, 206, html, "first"},
		"response_body":        {FrameBody, 0, "", "second"},
		"response_end":         {FrameEnd, 0, "", ""},
		"response_file":        {FrameFile, 200, "Content-Type: image/png|", "/srv/app/public/logo.png"},
		"response_offer":       {FrameOffer, 200, "Content-Type: text/plain|", bytes8(5_000_000)},
		"response_sent":        {FrameSent, 0, "", bytes8(1_000_000)},
		"response_failed":      {FrameFailed, 0, "", "RuntimeError\x00boom\x00app.rb:1:in `call'\napp.rb:2:in `run'"},
		"response_aborted":     {FrameAborted, 0, "", ""},
		"response_hijack":      {FrameHijack, 0, "", "\x00\x00\x00\x00"},
		"response_hijack_head": {FrameHijack, 101, "Connection: Upgrade|Upgrade: chat|", ""},
		"response_interim":     {FrameInterim, 103, "link: </a.css>; rel=preload|link: </b.js>; rel=preload|", ""},
	} {
		s, peer, err := NewSlotStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write(golden(t, name)); err != nil {
			t.Fatal(err)
		}
		peer.Close()
		h, err := s.Next()
		if err != nil || h.Type != want.frame || h.Status != want.status || h.ID != 5<<24|3 {
			t.Errorf("%s is %+v, %v", name, h, err)
		}
		rest := h.Length
		var headers strings.Builder
		if want.headers != "" {
			var block Headers
			if block, rest, err = s.ReadHead(nil, h.Length); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for {
				name, value, next, ok := block.Next()
				if !ok {
					break
				}
				headers.WriteString(string(name) + ": " + string(value) + "|")
				block = next
			}
		}
		payload := make([]byte, rest)
		if err := s.ReadFull(payload); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if headers.String() != want.headers || string(payload) != want.rest {
			t.Errorf("%s holds %q and %q", name, headers.String(), payload)
		}
		if h, err := s.Next(); err == nil {
			t.Errorf("%s goes on with %+v", name, h)
		}
		s.Close()
	}
}

func TestEveryGoldenFrameIsRead(t *testing.T) {
	files, err := filepath.Glob("../../../spec/fixtures/frames/*.bin")
	if err != nil || len(files) != 15 {
		t.Errorf("there are %d golden frames and the tests here read 15 (%v)", len(files), err)
	}
}
