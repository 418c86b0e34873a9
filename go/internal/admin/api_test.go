package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestRequestsAreAnsweredInJSON(t *testing.T) {
	var purges []Purge
	s := start(t, t.TempDir(), func(o *Options) {
		o.Purge = func(p Purge) (int, error) {
			purges = append(purges, p)
			if p.Host == "bad" {
				return 0, &Error{http.StatusBadRequest, "bad is no host"}
			}
			if p.Host == "broken" {
				return 0, errors.New("it is broken")
			}
			return 4, nil
		}
	})
	s.Handle("GET", "/text", func(*Request) (any, error) { return Text("plain\n"), nil })
	s.Handle("GET", "/panic", func(*Request) (any, error) { panic("oh") })
	s.Handle("GET", "/unencodable", func(*Request) (any, error) { return func() {}, nil })
	s.Handle("DELETE", "/status", func(r *Request) (any, error) { return string(r.Payload), nil })
	for _, c := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"GET", "/ping", "", 200, `{"status":"ok"}` + "\n"},
		{"GET", "/ping?x=y", "", 200, `{"status":"ok"}`},
		{"HEAD", "/ping", "", 200, ""},
		{"GET", "/status", "", 200, `{"requests":3}`},
		{"DELETE", "/status", "x<y", 200, `"x<y"`},
		{"GET", "/text", "", 200, "plain\n"},
		{"GET", "/", "", 404, `there is no \"/\" here, only /cache/purge, /panic, /ping, /status, /text, /unencodable`},
		{"GET", "/ping/", "", 404, `"status":"error"`},
		{"GET", "//ping", "", 404, `"status":"error"`},
		{"POST", "/ping", "", 405, "POST is not possible on /ping, only GET, HEAD"},
		{"GET", "/cache/purge", "", 405, "only POST"},
		{"PUT", "/status", "", 405, "only DELETE, GET, HEAD"},
		{"GET", "/panic", "", 500, "defect"},
		{"GET", "/unencodable", "", 500, "encoding the answer"},
		{"POST", "/cache/purge", `{"url":"http://a/b"}`, 200, `{"status":"ok","purged":4}`},
		{"POST", "/cache/purge", `{"prefix":"/b"}`, 200, `"purged":4`},
		{"POST", "/cache/purge", ` {"host":"a"} `, 200, `"purged":4`},
		{"POST", "/cache/purge", `{"all":true}`, 200, `"purged":4`},
		{"POST", "/cache/purge", `{"host":"bad"}`, 400, "bad is no host"},
		{"POST", "/cache/purge", `{"host":"broken"}`, 500, "it is broken"},
		{"POST", "/cache/purge", "", 400, "must be a JSON object"},
		{"POST", "/cache/purge", "{", 400, "must be a JSON object"},
		{"POST", "/cache/purge", `["url"]`, 400, "must be a JSON object"},
		{"POST", "/cache/purge", `{"url":"a"}{"url":"b"}`, 400, "must be a JSON object"},
		{"POST", "/cache/purge", "{}", 400, "exactly one of the keys all, host, prefix and url, it has 0"},
		{"POST", "/cache/purge", `{"url":"a","host":"b"}`, 400, "it has 2"},
		{"POST", "/cache/purge", `{"url":"a","url":"b"}`, 400, `key \"url\" is there twice`},
		{"POST", "/cache/purge", `{"uri":"a"}`, 400, `unknown key \"uri\"; known are all, host, prefix, url`},
		{"POST", "/cache/purge", `{"url":5}`, 400, `key \"url\" must be a string`},
		{"POST", "/cache/purge", `{"url":""}`, 400, `key \"url\" must be a string that is not empty`},
		{"POST", "/cache/purge", `{"prefix":null}`, 400, `key \"prefix\" must be a string`},
		{"POST", "/cache/purge", `{"all":false}`, 400, `key \"all\" must be true`},
		{"POST", "/cache/purge", `{"all":"true"}`, 400, `key \"all\" must be true`},
		{"POST", "/cache/purge", `{"url":"` + strings.Repeat("x", maxBody) + `"}`, 413, "larger than 65536 bytes"},
	} {
		response, body := s.ask(c.method, c.path, c.body)
		name := fmt.Sprintf("%s %s %.60s", c.method, c.path, c.body)
		if response.StatusCode != c.status || !strings.Contains(body, c.contains) {
			t.Errorf("%s: %d %s", name, response.StatusCode, body)
		}
		if c.status >= 400 && !strings.HasPrefix(body, `{"status":"error","message":"`) {
			t.Errorf("%s: the error is %s", name, body)
		}
		if got := response.Header.Get("Content-Type"); c.path != "/text" && got != "application/json" {
			t.Errorf("%s: it is %s", name, got)
		}
		if _, allow := response.Header["Allow"]; allow != (c.status == 405) {
			t.Errorf("%s: Allow is %v", name, response.Header["Allow"])
		}
	}
	want := []Purge{{URL: "http://a/b"}, {Prefix: "/b"}, {Host: "a"}, {All: true}, {Host: "bad"}, {Host: "broken"}}
	if fmt.Sprint(purges) != fmt.Sprint(want) {
		t.Errorf("purged %v", purges)
	}
	if s.log.count("an admin endpoint has failed") != 1 || s.log.count("it is broken") != 1 {
		t.Errorf("the log says %s", s.log.text.String())
	}
}

func TestPurgingAServerWithoutCacheSucceeds(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	if response, body := s.ask("POST", "/cache/purge", `{"all":true}`); response.StatusCode != 200 || body != `{"status":"ok","purged":0}`+"\n" {
		t.Errorf("%s: %s", response.Status, body)
	}
}

func TestAStatusThatCannotBeHadIsAnError(t *testing.T) {
	s := start(t, t.TempDir(), func(o *Options) { o.Status = func() any { return errors.New("busy") } })
	if response, body := s.ask("GET", "/status", ""); response.StatusCode != 503 || body != `{"status":"error","message":"busy"}`+"\n" {
		t.Errorf("%s: %s", response.Status, body)
	}
}

func TestTwoEndpointsForTheSameAreAMistake(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	defer func() {
		if recover() == nil {
			t.Error("the second one is taken")
		}
	}()
	s.Handle("GET", "/ping", func(*Request) (any, error) { return nil, nil })
}

func TestOnlyTheServersUserAndRootMayAsk(t *testing.T) {
	for what, c := range map[string]struct {
		uid    int
		err    error
		status int
		says   string
	}{
		"the same user":   {os.Geteuid(), nil, 200, "ok"},
		"root":            {0, nil, 200, "ok"},
		"another user":    {os.Geteuid() + 1, nil, 403, fmt.Sprintf("uid %d may not administer this server; its own user (uid %d) and root may", os.Geteuid()+1, os.Geteuid())},
		"somebody unseen": {0, errors.New("no credentials"), 403, "no credentials"},
	} {
		s := start(t, t.TempDir(), func(o *Options) { o.credentials = func(net.Conn) (int, error) { return c.uid, c.err } })
		for _, path := range []string{"/ping", "/status", "/nowhere"} {
			response, body := s.ask("GET", path, "")
			if path == "/nowhere" && c.status == 200 {
				continue
			}
			if response.StatusCode != c.status || path == "/ping" && !strings.Contains(body, c.says) {
				t.Errorf("%s on %s: %s %s", what, path, response.Status, body)
			}
		}
		s.stop()
	}
}

func TestTheKernelSaysWhoAsks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	registry := shortDir(t) // the test's own directory is closed to others
	if err := os.Chmod(registry, 0o755); err != nil {
		t.Fatal(err)
	}
	var purged atomic.Bool
	s := start(t, registry, func(o *Options) { o.Purge = func(Purge) (int, error) { purged.Store(true); return 1, nil } })
	for uid, want := range map[uint32]string{0: "answer: 200 ", 65534: "answer: 403 "} {
		purged.Store(false)
		// The test program lies where only root gets; this link leads past that.
		child := exec.Command("/proc/self/exe")
		child.Env = append(os.Environ(), helperVariable+"="+s.Dir())
		child.Dir = "/"
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		output, err := child.CombinedOutput()
		if err != nil || !strings.Contains(string(output), want) {
			t.Errorf("uid %d: %v\n%s", uid, err, output)
		}
		if purged.Load() != (uid == 0) {
			t.Errorf("uid %d: purged %v", uid, purged.Load())
		}
	}
}

func TestStrangersCannotUseUpTheDescriptors(t *testing.T) {
	s := start(t, t.TempDir(), func(o *Options) { o.credentials = func(net.Conn) (int, error) { return os.Geteuid() + 1, nil } })
	connect := func() net.Conn {
		c, err := dialIn(t.Context(), s.Dir())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
		return c
	}
	var held []net.Conn
	for range mostStrangers {
		held = append(held, connect())
	}
	eventually(t, "the acceptance of all", func() bool { return s.peers.strangers.Load() == mostStrangers })
	if n, err := connect().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("one more is served: %d, %v", n, err)
	}
	for _, c := range held {
		c.Close()
	}
	eventually(t, "the release of their places", func() bool { return s.peers.strangers.Load() == 0 })
	if response, _ := s.ask("GET", "/ping", ""); response.StatusCode != 403 {
		t.Error(response.Status)
	}
}

func TestStopEndsConnectionsThatSayNothing(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	silent, err := dialIn(t.Context(), s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s.ask("GET", "/ping", "") // accepted after the silent one
	s.stop()
	silent.SetDeadline(time.Now().Add(20 * time.Second))
	if n, err := io.ReadAll(silent); len(n) != 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q, %v", n, err)
	}
	eventually(t, "the end of all goroutines", func() bool { return len(serverGoroutines()) == 0 })
}

func TestARequestUnderWayIsAnsweredDuringStop(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, t.TempDir(), func(o *Options) {
		o.Status = func() any { close(entered); <-leave; return "last words" }
	})
	s.patience = time.Minute
	answers := make(chan string)
	go func() {
		_, body := s.ask("GET", "/status", "")
		answers <- body
	}()
	<-entered
	stopped := make(chan error)
	go func() { stopped <- s.Stop(context.Background()) }()
	// The listener is closed before the request may end.
	eventually(t, "the end of the listening", func() bool {
		c, err := dialIn(t.Context(), s.Dir())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(leave)
	if body := <-answers; body != "\"last words\"\n" {
		t.Error(body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
