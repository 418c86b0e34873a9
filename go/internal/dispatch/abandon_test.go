package dispatch

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"passenger/go/internal/link"
)

// connect gives a server's end of a TCP connection, and the client's.
func connect(t testing.TB) (server syscall.Conn, client *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dialled.Close()
		accepted.Close()
	})
	return accepted.(*net.TCPConn), dialled.(*net.TCPConn)
}

// socket is a connection that gives its raw side without allocating, as those
// of the server do.
type socket struct{ raw syscall.RawConn }

func (s socket) SyscallConn() (syscall.RawConn, error) { return s.raw, nil }

func raw(t testing.TB, c syscall.Conn) syscall.Conn {
	t.Helper()
	r, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return &socket{r}
}

func (b *bench) submitFor(client syscall.Conn) *Call {
	b.Helper()
	c := NewCall()
	c.Reset()
	c.Client = client
	c.Request.EndFields()
	if err := b.d.Submit(c); err != nil {
		b.Fatal(err)
	}
	return c
}

func TestWaitingRequestsOfClientsThatHangUpAreAnsweredAndNeverRun(t *testing.T) {
	for name, hangUp := range map[string]func(c *net.TCPConn) error{
		"closed":        (*net.TCPConn).Close,
		"half closed":   (*net.TCPConn).CloseWrite,
		"reset":         func(c *net.TCPConn) error { c.SetLinger(0); return c.Close() },
		"after sending": func(c *net.TCPConn) error { c.Write([]byte("GET / HTTP")); return c.Close() },
	} {
		b := newBench(t, 0)
		server, client := connect(t)
		gone := b.submitFor(server)
		stays, _ := connect(t)
		kept := b.submitFor(stays)
		if err := hangUp(client); err != nil {
			t.Fatal(err)
		}
		if err := gone.Wait(); err != ErrClientGone {
			t.Errorf("%s: the request gets %v", name, err)
		}
		var ran []uint64
		seat, _, ended := b.worker(func(id uint64) []byte {
			ran = append(ran, id)
			return complete(id)
		})
		b.d.Serve(b.g)
		if err := kept.Wait(); err != nil {
			t.Errorf("%s: the other request gets %v", name, err)
		}
		if s := b.d.Stats(); s.Abandoned != 1 || s.Waiting != 0 {
			t.Errorf("%s: %+v", name, s)
		}
		b.finish([]*Seat{seat}, ended)
		if len(ran) != 1 || ran[0] != kept.ID {
			t.Errorf("%s: run were %x", name, ran)
		}
	}
}

func TestAClientThatSendsMoreHasNotGone(t *testing.T) {
	b := newBench(t, 0)
	server, client := connect(t)
	c := b.submitFor(server)
	client.Write([]byte("GET /next HTTP/1.1\r\n"))
	time.Sleep(3 * sweepInterval) // so that it is looked at; a slow machine makes the test weaker, not wrong
	seat, _, ended := b.worker(complete)
	b.d.Serve(b.g)
	if err := c.Wait(); err != nil {
		t.Errorf("the request gets %v", err)
	}
	b.finish([]*Seat{seat}, ended)
}

func TestRequestsInTheSocketOfClientsThatHangUpAreTakenOut(t *testing.T) {
	b := newBench(t, 0)
	hold := make(chan struct{})
	ran := make(chan uint64, 10)
	seat, _, ended := b.worker(func(id uint64) []byte { ran <- id; <-hold; return complete(id) })
	b.d.Serve(b.g)
	first := b.submit()
	if id := <-ran; id != first.ID {
		t.Fatal("the first request is not run first")
	}
	server, client := connect(t)
	before := b.submit()
	gone := b.submitFor(server)
	after := b.submit()
	if s := b.d.Stats(); s.Outstanding != 4 {
		t.Fatalf("not all are in the socket: %+v", s)
	}
	client.Close()
	if err := gone.Wait(); err != ErrClientGone {
		t.Errorf("the abandoned request gets %v", err)
	}
	if s := b.d.Stats(); s.Outstanding != 3 || s.Waiting != 0 || s.Abandoned != 1 {
		t.Errorf("afterwards: %+v", s)
	}
	close(hold)
	for _, c := range []*Call{first, before, after} {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	b.finish([]*Seat{seat}, ended)
	close(ran)
	if got := []uint64{<-ran, <-ran}; got[0] != before.ID || got[1] != after.ID {
		t.Error("the others were run out of order")
	}
	if id, more := <-ran; more {
		t.Errorf("%x is run, too", id)
	}
}

func TestARequestThatAWorkerHasTakenIsNotAbandoned(t *testing.T) {
	b := newBench(t, 0)
	hold, begun := make(chan struct{}), make(chan struct{}, 1)
	seat, _, ended := b.worker(func(id uint64) []byte { begun <- struct{}{}; <-hold; return complete(id) })
	b.d.Serve(b.g)
	server, client := connect(t)
	c := b.submitFor(server)
	<-begun
	client.Close()
	// Nothing waits, so the sweeps end; the request is still under way then.
	eventually(t, "the end of the sweeps", func() bool {
		b.d.mu.Lock()
		defer b.d.mu.Unlock()
		return !b.d.watching
	})
	if s := b.d.Stats(); s.Outstanding != 1 || s.Abandoned != 0 {
		t.Errorf("while it runs: %+v", s)
	}
	close(hold)
	if err := c.Wait(); err != nil || c.Status != 200 {
		t.Errorf("the request gets %v", err)
	}
	b.finish([]*Seat{seat}, ended)
}

// The flood: ten thousand clients ask for something and hang up.
func TestTenThousandAbandonedRequestsNeverReachAWorker(t *testing.T) {
	const flood, sockets = 10_000, 100
	b := newBench(t, 0)
	var ran atomic.Int64
	hold, begun := make(chan struct{}), make(chan struct{}, 1)
	seat, _, ended := b.worker(func(id uint64) []byte {
		if ran.Add(1) == 1 {
			begun <- struct{}{}
			<-hold
		}
		return complete(id)
	})
	b.d.Serve(b.g)
	busy := b.submit()
	<-begun
	// Descriptors are scarce where tests run, so a hundred clients ask a hundred times each.
	var servers []syscall.Conn
	var clients []*net.TCPConn
	for range sockets {
		server, client := connect(t)
		servers, clients = append(servers, server), append(clients, client)
	}
	var calls []*Call
	for i := range flood {
		calls = append(calls, b.submitFor(servers[i%sockets]))
	}
	last := b.submit()
	for _, c := range clients {
		c.Close()
	}
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for i, c := range calls {
		if err := c.Wait(); err != ErrClientGone {
			t.Fatalf("request %d gets %v", i, err)
		}
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	spent := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	t.Logf("%v of CPU time for each", spent/flood)
	if spent/flood > 100*time.Microsecond {
		t.Errorf("each costs %v of CPU time", spent/flood)
	}
	close(hold)
	for _, c := range []*Call{busy, last} {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	b.finish([]*Seat{seat}, ended)
	if n := ran.Load(); n != 2 {
		t.Errorf("%d requests have been run instead of 2", n)
	}
	if s := b.d.Stats(); s.Abandoned != flood {
		t.Errorf("%d count as abandoned", s.Abandoned)
	}
}

// Each is looked at once more when it is about to be sent, whether a sweep has
// come by or not.
func TestAnAbandonedRequestIsFoundOutAtTheLastMoment(t *testing.T) {
	b := newBench(t, 0)
	b.d.mu.Lock()
	b.d.watching = true // no sweep comes
	b.d.mu.Unlock()
	server, client := connect(t)
	c := b.submitFor(server)
	client.Close()
	time.Sleep(2 * patience)
	seat, _, ended := b.worker(func(id uint64) []byte { t.Error("it is run"); return complete(id) })
	b.d.Serve(b.g)
	if err := c.Wait(); err != ErrClientGone {
		t.Errorf("the request gets %v", err)
	}
	b.finish([]*Seat{seat}, ended)
}

func TestRequestsThatWaitForTooLongAreAnswered(t *testing.T) {
	b := newBenchWith(t, Options{MaxQueueTime: 50 * time.Millisecond})
	hold, begun := make(chan struct{}), make(chan uint64, 10)
	seat, _, ended := b.worker(func(id uint64) []byte { begun <- id; <-hold; return complete(id) })
	b.d.Serve(b.g)
	var calls []*Call
	for range 3 + lookAhead { // one is run, some lie in the socket, some wait in line
		calls = append(calls, b.submit())
	}
	<-begun
	for i, c := range calls[1:] {
		if err := c.Wait(); err != ErrQueueTimeout {
			t.Errorf("request %d gets %v", i+1, err)
		}
	}
	close(hold)
	if err := calls[0].Wait(); err != nil {
		t.Errorf("the request that was run gets %v", err)
	}
	b.finish([]*Seat{seat}, ended)
	if s := b.d.Stats(); s.QueueTimeouts != uint64(len(calls)-1) || len(begun) != 0 {
		t.Errorf("%d have been run too late: %+v", len(begun), s)
	}
}

func TestAConnectionThatTheServerHasClosedCountsAsGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.Close()
	b := newBench(t, 0)
	if err := b.submitFor(r).Wait(); err != ErrClientGone {
		t.Errorf("the request gets %v", err)
	}
	b.finish(nil)
}

func TestLookingAtClientsAllocatesNothing(t *testing.T) {
	accepted, client := connect(t)
	server := raw(t, accepted)
	p := newProbe()
	if n := testing.AllocsPerRun(100, func() {
		if p.gone(server) {
			t.Error("the client has gone")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	client.Close()
	eventually(t, "the end of the connection", func() bool { return p.gone(server) })
}

func TestNothingIsSweptWhenNothingWaits(t *testing.T) {
	b := newBench(t, 0)
	seat, _, ended := b.worker(complete)
	b.d.Serve(b.g)
	for range 10 {
		if err := b.submit().Wait(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the end of the sweeps", func() bool {
		b.d.mu.Lock()
		defer b.d.mu.Unlock()
		return !b.d.watching
	})
	b.finish([]*Seat{seat}, ended)
}

func BenchmarkSweepOfALongLine(b *testing.B) {
	d := New(Options{Pressure: func() {}})
	d.watching = true // no sweep but the benchmark's
	accepted, _ := connect(b)
	server := raw(b, accepted)
	for range 2000 {
		c := NewCall()
		c.Reset()
		c.Client = server
		c.Request.SetReceivedAt(link.Now() - int64(time.Second))
		if err := d.Submit(c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		d.mu.Lock()
		d.collect(link.Now())
		d.mu.Unlock()
		d.look(d.suspects)
		d.suspects = d.suspects[:0]
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sweepSize, "ns/client")
}
