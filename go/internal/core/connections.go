package core

import (
	"golang.org/x/sys/unix"

	"passenger/go/internal/httpd"
)

// descriptorsElsewhere is what the server needs besides those of connections
// and of workers: listeners, logs, the admin socket, files and pipes for a moment.
const descriptorsElsewhere = 64

// descriptorsPerWorker is what a worker needs besides its threads' streams.
const descriptorsPerWorker = 4

// limitConnections bounds the connections by the options and by what there are
// descriptors for. The Go runtime has raised the soft limit to the hard one.
func (e *Engine) limitConnections() {
	limits := httpd.Limits{Connections: e.options.MaxConnections, PerAddress: e.options.MaxConnectionsPerIP, Hijacked: e.tunnels.Count}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		e.log.Warn("the limit of file descriptors cannot be read", "error", err)
	} else if files.Cur != unix.RLIM_INFINITY && files.Cur < 1<<30 {
		limits.Descriptors = forConnections(int(files.Cur), e.supervisor.policy.Max, e.options.Threads())
		wanted := e.options.MaxConnections
		if limits.Descriptors < 2*wanted {
			e.log.Warn("the limit of file descriptors does not suffice for max_connections; raise it (ulimit -n, LimitNOFILE)",
				"max_connections", wanted, "descriptors", files.Cur, "enough_for", min(limits.Descriptors, wanted), "enough_for_websockets", limits.Descriptors/2)
		}
	}
	e.server.Limit(limits)
}

// forConnections is how many of the descriptors are for connections: what the
// rest of the server does not need, but half of them at least.
func forConnections(descriptors, workers, threads int) int {
	others := descriptorsElsewhere + httpd.DescriptorsBeside + workers*(descriptorsPerWorker+threads)
	return max(descriptors-others, descriptors/2)
}
