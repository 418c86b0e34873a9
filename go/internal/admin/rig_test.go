package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// helperVariable makes the test program a client of the instance directory that it names.
const helperVariable = "ADMIN_TEST_INSTANCE"

func TestMain(m *testing.M) {
	dir := os.Getenv(helperVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	response, body, err := exchange(dir, "POST", "/cache/purge", `{"all":true}`)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Printf("answer: %d %s", response.StatusCode, body)
}

// rig is a server with a log and a clock that the test holds.
type rig struct {
	testing.TB
	*Server
	log   *logBuffer
	ticks chan time.Time
	clock *clock
}

// start runs a server in a registry, and ends it with the test.
func start(t testing.TB, registry string, change func(*Options)) *rig {
	t.Helper()
	r := &rig{TB: t, log: &logBuffer{}, ticks: make(chan time.Time), clock: &clock{now: time.Now()}}
	o := Options{
		RegistryDir: registry, Version: "7.1.2", ServerSoftware: "Passenger/7.1.2", AppRoot: "/srv/app", Environment: "staging", Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Status: func() any { return map[string]int{"requests": 3} }, Now: r.clock.read, Ticks: r.ticks,
	}
	if change != nil {
		change(&o)
	}
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *rig) stop() {
	r.Helper()
	if err := r.Stop(r.Context()); err != nil {
		r.Error(err)
	}
}

// tick has the owner look after the directory, and returns when it has.
func (r *rig) tick() {
	r.Helper()
	for range 2 { // the second one is received when the first has been dealt with
		select {
		case r.ticks <- time.Time{}:
		case <-time.After(20 * time.Second):
			r.Fatal("the owner does not listen")
		}
	}
}

// ask makes one request on a connection of its own.
func (r *rig) ask(method, path, body string) (*http.Response, string) {
	r.Helper()
	return ask(r, r.Dir(), method, path, body)
}

func ask(t testing.TB, dir, method, path, body string) (*http.Response, string) {
	t.Helper()
	response, text, err := exchange(dir, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return response, text
}

func exchange(dir, method, path, body string) (*http.Response, string, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialIn(ctx, dir)
	}}
	request, err := http.NewRequest(method, "http://passenger"+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	client := http.Client{Transport: transport, Timeout: 20 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response, string(text), err
}

// dialIn connects to the socket of an instance directory, however long its path is.
func dialIn(ctx context.Context, dir string) (net.Conn, error) {
	agents, err := os.Open(filepath.Join(dir, "agents.s"))
	if err != nil {
		return nil, err
	}
	defer agents.Close()
	var d net.Dialer
	return d.DialContext(ctx, "unix", filepath.Join("/proc/self/fd", strconv.Itoa(int(agents.Fd())), "core_api"))
}

// shortDir is a temporary directory whose path leaves room for that of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// names are the entries of a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func properties(t testing.TB, dir string) Properties {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "properties.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p Properties
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return p
}

// eventually polls.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// serverGoroutines are those that this package and its HTTP server run.
func serverGoroutines() (found []string) {
	stacks := make([]byte, 1<<20)
	for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "admin.(*Server)") || strings.Contains(stack, "net/http.(*conn)") {
			found = append(found, stack)
		}
	}
	return found
}

// descriptors is how many files this process has open.
func descriptors(t testing.TB) int { return len(names(t, "/proc/self/fd")) }

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) count(what string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), what)
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
