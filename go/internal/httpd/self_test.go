package httpd

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"passenger/go/internal/procinfo"
)

// self is this test program, run once more as a server.
type self struct {
	pid int
	at  net.Addr
}

// startSelf runs one test of it, which says "listening ADDRESS" and ends with its input.
func startSelf(t *testing.T, test, environment string) *self {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), environment)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "listening "); ok {
			at, err := net.ResolveTCPAddr("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			return &self{cmd.Process.Pid, at}
		}
	}
	t.Fatal("the server did not start")
	return nil
}

func (s *self) cpuTime(t *testing.T) time.Duration {
	t.Helper()
	used, err := procinfo.CPUTime(s.pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}
