package dispatch

import (
	"errors"
	"io"
	"math/rand"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"passenger/go/internal/link"
	"passenger/go/internal/link/linktest"
)

// storm is a dispatcher to which everything happens at once.
type storm struct {
	*testing.T
	d     *Dispatcher
	mu    sync.Mutex
	ran   map[uint64]int // by the number in the path, how often a worker has begun it
	crew  sync.WaitGroup
	seats []*Seat // that live
}

// recruit seats a stand-in worker that answers in all ways there are, and may
// die at any request.
func (s *storm) recruit(g *Generation, random *rand.Rand) *Seat {
	seat, peers, err := g.NewSeat(1, func() { s.Error("a worker is said to have broken the protocol") })
	if err != nil {
		return nil // those that have died still have their slots
	}
	dice := rand.New(rand.NewSource(random.Int63()))
	w := &linktest.Worker{Queue: g.Queue().WorkersEnd(), Direct: seat.DirectPeer(), Slot: peers[0], Board: g.Board(), Index: seat.Slots()[0]}
	w.Answer = func(message []byte, id uint64) []byte {
		p, err := link.ParseRequest(message)
		if err != nil {
			s.Error(err)
			return nil
		}
		number := tag(p.Env["PATH_INFO"])
		s.mu.Lock()
		s.ran[number]++
		s.mu.Unlock()
		if dice.Intn(3) == 0 {
			time.Sleep(time.Duration(dice.Intn(8)) * time.Millisecond)
		}
		body := link.HeadPayload(nil, []byte(p.Env["PATH_INFO"]))
		switch dice.Intn(40) {
		case 0:
			return nil // dies
		case 1, 2:
			return link.AppendFrame(nil, link.FrameFailed, 0, id, []byte("A\x00b\x00c"))
		case 3, 4, 5, 6:
			f := link.AppendFrame(nil, link.FrameHead, 200, id, body)
			return link.AppendFrame(f, link.FrameEnd, 0, id, nil)
		}
		return link.AppendFrame(nil, link.FrameComplete, 200, id, body)
	}
	s.crew.Go(func() {
		w.Run()
		peers[0].Close()
		w.Direct.Close()
		s.mu.Lock()
		s.seats = remove(s.seats, seat)
		s.mu.Unlock()
		seat.Close()
	})
	seat.Ready()
	s.mu.Lock()
	s.seats = append(s.seats, seat)
	s.mu.Unlock()
	return seat
}

func remove(seats []*Seat, seat *Seat) []*Seat {
	var rest []*Seat
	for _, s := range seats {
		if s != seat {
			rest = append(rest, s)
		}
	}
	return rest
}

func (s *storm) anySeat(random *rand.Rand) *Seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seats) == 0 {
		return nil
	}
	return s.seats[random.Intn(len(s.seats))]
}

func name(n uint64) string {
	b := make([]byte, 0, 8)
	for range 8 {
		b = append(b, 'a'+byte(n&15))
		n >>= 4
	}
	return string(b)
}

func tag(name string) (n uint64) {
	for i := len(name) - 1; i >= 0; i-- {
		n = n<<4 | uint64(name[i]-'a')
	}
	return n
}

// Whatever joins, quits, dies, hangs up or expires: each request gets one
// answer, its own; none is run twice, and none that has been called abandoned or
// timed out in the queue is run at all. In the end all credit is there.
func TestEveryRequestGetsOneAnswerWhateverHappens(t *testing.T) {
	length := 3 * time.Second
	if testing.Short() {
		length = time.Second
	}
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	b := newBenchWith(t, Options{Sticky: true, MaxWaiting: 25, MaxQueueTime: 40 * time.Millisecond})
	s := &storm{T: t, d: b.d, ran: map[uint64]int{}}
	random := rand.New(rand.NewSource(seed))
	stop := make(chan struct{})
	var numbers atomic.Uint64
	var answers [6]atomic.Int64 // served, failed, died, abandoned, refused, expired
	var clients sync.WaitGroup
	for range 40 {
		dice := rand.New(rand.NewSource(random.Int63()))
		clients.Go(func() {
			c := NewCall()
			for {
				select {
				case <-stop:
					return
				default:
				}
				s.request(c, dice, numbers.Add(1), &answers)
			}
		})
	}

	generations := []*Generation{b.g}
	all := []*Generation{b.g}
	for range 2 {
		s.recruit(b.g, random)
	}
	b.d.Serve(b.g)
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(time.Duration(random.Intn(10)) * time.Millisecond) {
		g := generations[random.Intn(len(generations))]
		switch random.Intn(10) {
		case 0:
			if len(all) < 12 {
				next, err := b.d.NewGeneration(len(all)+1, 16)
				if err != nil {
					t.Fatal(err)
				}
				all, generations = append(all, next), append(generations, next)
				s.recruit(next, random)
				if random.Intn(2) == 0 {
					b.d.Join(next)
				} else {
					b.d.Serve(next)
				}
			}
		case 1:
			b.d.Quit(g)
		case 2, 3:
			b.d.Join(g)
		case 4:
			if len(generations) > 1 {
				var rest []*Generation
				for _, o := range generations {
					if o != g {
						rest = append(rest, o)
					}
				}
				generations = rest
				g.Drain()
			}
		case 5:
			if seat := s.anySeat(random); seat != nil {
				seat.Leaving()
				if random.Intn(2) == 0 {
					seat.Ready()
				}
			}
		case 6, 7:
			if seat := s.anySeat(random); seat != nil {
				for _, late := range seat.Overdue(link.Now(), time.Millisecond) {
					seat.Expire(late.ID, ErrRequestTimeout)
				}
			}
		default:
			s.recruit(g, random)
		}
		b.d.Stats()
		b.d.Short()
	}
	close(stop)
	// Nobody may hang: those that wait get served, or are refused in the end.
	last := generations[len(generations)-1]
	s.recruit(last, random)
	b.d.Serve(last)
	done := make(chan struct{})
	go func() {
		clients.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("requests have no answer: %+v", b.d.Stats())
	}
	for _, g := range all {
		g.Drain()
	}
	s.crew.Wait()
	for _, g := range all {
		eventually(t, "the return of all credit", func() bool { return g.Unanswered() == 0 })
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	b.d.mu.Lock()
	if b.d.waiting != 0 || b.d.line.first != nil || len(b.d.generations) != 0 || len(b.d.seats) != 0 {
		t.Errorf("left behind: %d waiting, %d generations, %d seats", b.d.waiting, len(b.d.generations), len(b.d.seats))
	}
	for _, c := range b.d.calls {
		if c != nil {
			t.Errorf("call %x is left, %s", c.ID, c.state)
		}
	}
	b.d.mu.Unlock()
	for _, g := range all {
		if g.outstanding != 0 || g.behind != 0 || g.slots < 0 {
			t.Errorf("generation %d: %d outstanding, %d behind, %d slots", g.number, g.outstanding, g.behind, g.slots)
		}
	}
	for number, times := range s.ran {
		if times != 1 {
			t.Errorf("request %d has been run %d times", number, times)
		}
	}
	t.Logf("%d served, %d failed, %d lost with their workers, %d abandoned, %d refused, %d expired",
		answers[0].Load(), answers[1].Load(), answers[2].Load(), answers[3].Load(), answers[4].Load(), answers[5].Load())
	if answers[0].Load() == 0 {
		t.Error("nothing was served")
	}
}

func (s *storm) request(c *Call, dice *rand.Rand, number uint64, answers *[6]atomic.Int64) {
	c.Reset()
	path := name(number)
	c.Request.AddString(link.KeyPathInfo, path)
	c.Request.EndFields()
	if dice.Intn(3) == 0 {
		if seat := s.anySeat(dice); seat != nil {
			c.Sticky = seat.ID()
		}
	}
	if dice.Intn(4) == 0 {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			s.Error(err)
			return
		}
		server, client := os.NewFile(uintptr(fds[0]), "server"), os.NewFile(uintptr(fds[1]), "client")
		defer server.Close()
		c.Client = server
		hangup := time.AfterFunc(time.Duration(dice.Intn(60))*time.Millisecond, func() { client.Close() })
		defer client.Close()
		defer hangup.Stop()
	}
	err := s.d.Submit(c)
	if err == nil {
		err = c.Wait()
		if len(c.ready) != 0 {
			s.Errorf("request %d has a second answer", number)
		}
	}
	if err == nil && c.Stream != nil {
		body, streamErr := io.ReadAll(c.Stream)
		c.Body, err = body, streamErr
		c.Stream.Close()
	}
	s.mu.Lock()
	ran := s.ran[number]
	s.mu.Unlock()
	var app *AppError
	kind, mayRun := 0, true
	switch {
	case err == nil:
		if string(c.Body) != path || ran != 1 {
			s.Errorf("request %d gets %q, having been run %d times", number, c.Body, ran)
		}
	case errors.As(err, &app):
		kind = 1
	case err == ErrWorkerDied || err == io.ErrUnexpectedEOF:
		kind = 2
	case err == ErrClientGone:
		kind, mayRun = 3, false
	case err == ErrQueueFull || err == ErrQueueTimeout:
		kind, mayRun = 4, false
		time.Sleep(time.Duration(dice.Intn(5)) * time.Millisecond)
	case err == ErrRequestTimeout:
		kind = 5
	default:
		s.Errorf("request %d gets %v", number, err)
	}
	if !mayRun && ran != 0 {
		s.Errorf("request %d has been run, and gets %v", number, err)
	}
	answers[kind].Add(1)
}
