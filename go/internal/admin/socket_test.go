package admin

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// echo is a socket that repeats what is said to it.
func echo() Socket {
	return Socket{
		Name: "echo",
		Serve: func(l net.Listener) error {
			for {
				conn, err := l.Accept()
				if err != nil {
					return err
				}
				go func() {
					defer conn.Close()
					io.Copy(conn, conn)
				}()
			}
		},
		Refuse: func(conn net.Conn, reason string) {
			conn.Write([]byte("refused: " + reason))
			conn.Close()
		},
	}
}

// say speaks to a socket of an instance directory, however long its path is, and returns the answer.
func say(t *testing.T, dir, name, text string) string {
	t.Helper()
	agents, err := os.Open(filepath.Join(dir, "agents.s"))
	if err != nil {
		t.Fatal(err)
	}
	defer agents.Close()
	conn, err := net.Dial("unix", filepath.Join("/proc/self/fd", strconv.Itoa(int(agents.Fd())), name))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte(text)) // it may have been closed already
	conn.(*net.UnixConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 {
		t.Fatal(err)
	}
	return string(answer)
}

func TestAnotherSocketIsBesideTheAPIs(t *testing.T) {
	registry := shortDir(t)
	s := start(t, registry, func(o *Options) { o.Sockets = []Socket{echo()} })
	if answer := say(t, s.Dir(), "echo", "hello"); answer != "hello" {
		t.Errorf("it answers %q", answer)
	}
	if response, _ := s.ask("GET", "/ping", ""); response.StatusCode != 200 {
		t.Errorf("the API answers %s", response.Status)
	}
	st, err := os.Lstat(s.SocketPath("echo"))
	if err != nil || st.Mode() != fs.ModeSocket|0o666 {
		t.Errorf("%v, %v", st, err)
	}
	s.stop()
	if left := names(t, registry); len(left) != 0 {
		t.Errorf("the registry holds %v", left)
	}
	eventually(t, "the end of all goroutines", func() bool { return len(serverGoroutines()) == 0 })
}

func TestAnotherSocketIsOnlyForTheSameUsers(t *testing.T) {
	for want, credentials := range map[string]func(net.Conn) (int, error){
		"hello": func(net.Conn) (int, error) { return 0, nil },
		"refused: the user with uid 4711 may not":        func(net.Conn) (int, error) { return 4711, nil },
		"refused: it is not known who is asking: broken": func(net.Conn) (int, error) { return 0, errors.New("broken") },
	} {
		s := start(t, shortDir(t), func(o *Options) { o.Sockets, o.credentials = []Socket{echo()}, credentials })
		for range 2 * mostStrangers { // those that are refused leave room for others
			if answer := say(t, s.Dir(), "echo", "hello"); !strings.HasPrefix(answer, want) {
				t.Fatalf("it answers %q, not %q", answer, want)
			}
		}
	}
}

func TestAnotherSocketIsMadeAnewAsWell(t *testing.T) {
	damages := map[string]func(s *rig){
		"the socket is removed": func(s *rig) { os.Remove(s.SocketPath("echo")) },
		"all is removed":        func(s *rig) { os.RemoveAll(s.Dir()) },
	}
	for what, damage := range damages {
		t.Run(what, func(t *testing.T) {
			s := start(t, shortDir(t), func(o *Options) { o.Sockets = []Socket{echo()} })
			damage(s)
			s.tick()
			if answer := say(t, s.Dir(), "echo", "hello"); answer != "hello" {
				t.Errorf("it answers %q", answer)
			}
			if response, _ := s.ask("GET", "/ping", ""); response.StatusCode != 200 {
				t.Errorf("the API answers %s", response.Status)
			}
		})
	}
}

func TestASocketWhoseServerHasEndedIsMadeAnew(t *testing.T) {
	broken := make(chan struct{})
	s := start(t, shortDir(t), func(o *Options) {
		socket := echo()
		serve, first := socket.Serve, true
		socket.Serve = func(l net.Listener) error {
			if first {
				first = false
				<-broken
				return errors.New("out of order")
			}
			return serve(l)
		}
		o.Sockets = []Socket{socket}
	})
	close(broken)
	eventually(t, "its end", func() bool { return s.log.count("out of order") == 1 && s.deaf.Load() })
	s.tick()
	if answer := say(t, s.Dir(), "echo", "hello"); answer != "hello" {
		t.Errorf("it answers %q", answer)
	}
}
