package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// socket is one WebSocket. Only the watcher touches it once it is watched.
type socket struct {
	fd      int
	stream  int
	partial []byte // of a frame
	last    int    // the highest number of a broadcast that has come
	missing map[int]bool
	closed  bool
}

// handshakePatience bounds each step of a handshake.
var handshakePatience = unix.Timeval{Sec: 60}

// open connects and upgrades. What the server has sent behind the answer is in
// partial.
func open(address netip.AddrPort, path string) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("no socket: %w", err)
	}
	s := &socket{fd: fd}
	if err := s.upgrade(address, path); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *socket) upgrade(address netip.AddrPort, path string) error {
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, option, &handshakePatience); err != nil {
			return err
		}
	}
	if err := s.connect(address); err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: actioncable-v1-json\r\nOrigin: http://%s\r\n\r\n", path, address, address)
	if err := s.send([]byte(request)); err != nil {
		return err
	}
	answer := make([]byte, 0, 4<<10)
	for {
		n, err := unix.Read(s.fd, answer[len(answer):cap(answer)])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return fmt.Errorf("no answer to the handshake: %d bytes, %w", n, err)
		}
		answer = answer[:len(answer)+n]
		if end := bytes.Index(answer, []byte("\r\n\r\n")); end >= 0 {
			if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) {
				return fmt.Errorf("the server refused the WebSocket: %q", answer[:bytes.IndexByte(answer, '\r')])
			}
			if left := answer[end+4:]; len(left) > 0 {
				s.partial = bytes.Clone(left)
			}
			return unix.SetNonblock(s.fd, true)
		}
		if len(answer) == cap(answer) {
			return fmt.Errorf("the answer to the handshake does not end")
		}
	}
}

// connect goes on when a signal has come: the kernel does, too.
func (s *socket) connect(address netip.AddrPort) error {
	err := unix.Connect(s.fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()})
	for err == unix.EINTR {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, int(handshakePatience.Sec)*1000)
		if err == nil {
			var failed int
			if failed, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); failed != 0 {
				return unix.Errno(failed)
			}
		}
	}
	return err
}

// send is for small messages: a server that does not even take those is an error.
func (s *socket) send(b []byte) error {
	for len(b) > 0 {
		n, err := unix.SendmsgN(s.fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot send: %w", err)
		}
		b = b[n:]
	}
	return nil
}

// monotonic is the clock that Ruby's Process::CLOCK_MONOTONIC reads.
func monotonic() time.Duration {
	var t unix.Timespec
	// It cannot fail for a clock that is there.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}
