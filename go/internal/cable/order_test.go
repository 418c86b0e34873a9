package cable

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestOrderAndCompleteness has processes publish on a few channels, while
// others subscribe and unsubscribe at random. One observer has subscribed to
// everything all the time. What anybody else gets of a channel between two
// acknowledgements must be a piece of what the observer has got, without gaps,
// and hold everything that was published between them.
func TestOrderAndCompleteness(t *testing.T) {
	const channels, publishers, subscribers, messages = 3, 4, 6, 2000
	r := start(t, Options{})
	observed := make([][]string, channels)
	observer := r.connect("observer")
	for i := range channels {
		observer.subscribe(channelName(i))
	}
	var begun, acknowledged [channels][publishers]atomic.Int64
	var all sync.WaitGroup
	all.Go(func() {
		for range publishers * messages {
			f := observer.next()
			i := channelNumber(f)
			observed[i] = append(observed[i], string(f.message()))
		}
	})
	running := make(chan struct{})
	var publishing sync.WaitGroup
	for p := range publishers {
		connection := r.connect(fmt.Sprint("publisher ", p))
		random := rand.New(rand.NewPCG(1, uint64(p)))
		publishing.Go(func() {
			for range messages {
				i := random.IntN(channels)
				n := begun[i][p].Add(1)
				connection.ask(kindPublish, channelName(i), fmt.Sprintf("%d:%d", p, n)+strings.Repeat(".", random.IntN(200)))
				acknowledged[i][p].Add(1)
			}
		})
	}
	go func() { publishing.Wait(); close(running) }()
	sessions := make([][]session, subscribers)
	for s := range subscribers {
		connection := r.connect(fmt.Sprint("subscriber ", s))
		random := rand.New(rand.NewPCG(2, uint64(s)))
		all.Go(func() {
			for {
				i := random.IntN(channels)
				one := session{channel: i}
				connection.subscribe(channelName(i))
				for p := range publishers {
					one.from[p] = begun[i][p].Load()
				}
				time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
				for p := range publishers {
					one.to[p] = acknowledged[i][p].Load()
				}
				connection.number++
				connection.send(newFrame(kindUnsubscribe, connection.number, channelName(i), ""))
				for {
					f := connection.next()
					if f.kind() == kindDone {
						break
					}
					one.got = append(one.got, string(f.message()))
				}
				sessions[s] = append(sessions[s], one)
				select {
				case <-running:
					return
				default:
				}
			}
		})
	}
	all.Wait()

	count, received := 0, 0
	histories := make([]history, channels)
	for i, list := range observed {
		histories[i] = newHistory(t, list)
	}
	for _, list := range sessions {
		for _, one := range list {
			one.check(t, histories[one.channel])
			count++
			received += len(one.got)
		}
	}
	if count < 2*subscribers || received == 0 {
		t.Errorf("%d subscriptions with %d messages show nothing", count, received)
	}
	t.Logf("%d subscriptions, %d messages", count, received)
}

func channelName(i int) string      { return fmt.Sprint("channel ", i) }
func channelNumber(f frame) (i int) { fmt.Sscanf(string(f.channel()), "channel %d", &i); return i }

// history is everything that was published on a channel.
type history struct {
	messages []string
	place    map[string]int // of each message
}

// newHistory checks that each publisher's messages come in the order in which
// they were published.
func newHistory(t *testing.T, messages []string) history {
	t.Helper()
	h := history{messages: messages, place: map[string]int{}}
	var last [4]int64 // of each publisher
	for i, message := range messages {
		p, n := origin(message)
		if n != last[p]+1 {
			t.Fatalf("message %d of publisher %d comes after message %d", n, p, last[p])
		}
		last[p] = n
		h.place[message] = i
	}
	return h
}

func origin(message string) (publisher int, number int64) {
	fmt.Sscanf(message, "%d:%d", &publisher, &number)
	return publisher, number
}

// session is what came between the acknowledgements of a subscription and of its end.
type session struct {
	channel  int
	from, to [4]int64 // of each publisher's messages those with from < number ≤ to must be there
	got      []string
}

func (s *session) check(t *testing.T, h history) {
	t.Helper()
	have := [4]map[int64]bool{{}, {}, {}, {}}
	for i, message := range s.got {
		p, n := origin(message)
		have[p][n] = true
		if first := h.place[s.got[0]]; first+i >= len(h.messages) || h.messages[first+i] != message {
			t.Fatalf("as number %d a subscription to %s got %.20s", i, channelName(s.channel), message)
		}
	}
	for p := range have {
		for n := s.from[p] + 1; n <= s.to[p]; n++ {
			if !have[p][n] {
				t.Fatalf("a subscription to %s has missed message %d of publisher %d", channelName(s.channel), n, p)
			}
		}
	}
}
