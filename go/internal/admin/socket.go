package admin

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// longestSocketPath is what fits into sockaddr_un.sun_path with its final NUL (unix(7)).
const longestSocketPath = 107

// Socket is one beside the API's in the instance directory, for another
// protocol. The same users may use it.
type Socket struct {
	Name string
	// Serve serves the connections of a listener until that is closed, as it is
	// by Stop, and when the directory has to be made anew. Connections that are
	// open then are its own affair.
	Serve func(net.Listener) error
	// Refuse closes the connection of a user who may not use the socket. It must
	// not wait for the client.
	Refuse func(conn net.Conn, reason string)
}

// listenIn opens a socket in an instance directory. Where its path is too
// long for an address the kernel gets one through /proc/self/fd: changing the
// working directory instead would change it for the application as well.
func listenIn(root *os.Root, path, name string) (*net.UnixListener, error) {
	address := filepath.Join(path, socketDirName, name)
	if len(address) > longestSocketPath {
		dir, err := root.Open(socketDirName)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		address = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// The address may mean another file by the time of Close, or none.
	l.SetUnlinkOnClose(false)
	// Anybody may connect, so that anybody can be told why he may do no more.
	if err := root.Chmod(filepath.Join(socketDirName, name), 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// mostStrangers is how many connections users without permission may hold, all
// together. They get an answer, but cannot use up the server's descriptors.
const mostStrangers = 16

// peers counts connections of users without permission.
type peers struct{ strangers atomic.Int32 }

// listener passes on connections that know who is at the other end.
type listener struct {
	net.Listener
	peers       *peers
	credentials func(net.Conn) (uid int, err error)
}

// connection is one that a peer has made.
type connection struct {
	net.Conn
	uid       int
	err       error // why the uid is not known
	allowed   bool
	strangers *atomic.Int32 // where it is counted; nil if it is not
	closed    atomic.Bool
}

// Accept returns the next connection that is to be answered.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &connection{Conn: conn}
		c.uid, c.err = l.credentials(conn)
		c.allowed = c.err == nil && (c.uid == 0 || c.uid == os.Geteuid())
		if !c.allowed {
			if l.peers.strangers.Add(1) > mostStrangers {
				l.peers.strangers.Add(-1)
				conn.Close()
				continue
			}
			c.strangers = &l.peers.strangers
		}
		return c, nil
	}
}

// permission is nil if the peer may use the socket: root, and the user whose
// server this is.
func (c *connection) permission() error {
	switch {
	case c.err != nil:
		return fmt.Errorf("it is not known who is asking: %w", c.err)
	case !c.allowed:
		return fmt.Errorf("the user with uid %d may not administer this server; its own user (uid %d) and root may", c.uid, os.Geteuid())
	}
	return nil
}

// screened passes on the connections of users who may make them.
type screened struct {
	listener
	refuse func(conn net.Conn, reason string)
}

// Accept returns the next connection of such a user.
func (l *screened) Accept() (net.Conn, error) {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return nil, err
		}
		c := conn.(*connection)
		if err := c.permission(); err != nil {
			l.refuse(c, err.Error())
			continue
		}
		return c.Conn, nil
	}
}

// Close closes the connection, and gives its place to another one.
func (c *connection) Close() error {
	if c.strangers != nil && c.closed.CompareAndSwap(false, true) {
		c.strangers.Add(-1)
	}
	return c.Conn.Close()
}

// peerUID asks the kernel who has connected (SO_PEERCRED, unix(7)).
func peerUID(conn net.Conn) (int, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%T has no peer credentials", conn)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, os.NewSyscallError("getsockopt", credErr)
	}
	return int(cred.Uid), nil
}
