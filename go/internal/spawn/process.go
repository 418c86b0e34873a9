package spawn

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a process of the app, the engine's child or not, held by its
// pidfd: it is never mistaken for another one that has got the same id since.
type process struct {
	pid int
	fd  *os.File
}

// openProcess takes hold of a process; unix.ESRCH if it has ended and has been reaped.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &process{pid: pid, fd: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// wait returns when the process has ended, with how, as far as this process
// can know that: only its parent gets to hear it. It reaps it then. It also
// returns, with an error, when the process is let go of.
func (p *process) wait() (status string, err error) {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return "", err
	}
	// A pidfd becomes readable when its process has ended.
	err = raw.Read(func(fd uintptr) bool {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(polled, 0)
		return n > 0 || (err != nil && err != unix.EINTR)
	})
	if err != nil {
		return "", err
	}
	return reap(p.pid), nil
}

// reap collects an ended process if it is this one's child: one that was forked
// by the engine, or whose parent has died (see Adopting).
func reap(pid int) (status string) {
	var ended unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &ended, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || got != pid:
			return ""
		case ended.Signaled():
			return fmt.Sprintf("signal %d", ended.Signal())
		}
		return fmt.Sprintf("exit %d", ended.ExitStatus())
	}
}

// kill ends the process at once. One that has ended already is no error.
func (p *process) kill() error {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	var killErr error
	if err := raw.Control(func(fd uintptr) {
		killErr = unix.PidfdSendSignal(int(fd), syscall.SIGKILL, nil, 0)
	}); err != nil {
		return err
	}
	if errors.Is(killErr, unix.ESRCH) {
		return nil
	}
	return killErr
}

// release lets go of the process.
func (p *process) release() { p.fd.Close() }
