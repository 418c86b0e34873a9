package cable

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestAProcessGetsWhatItPublishesItself(t *testing.T) {
	r := start(t, Options{})
	one, two, three := r.connect("one"), r.connect("two"), r.connect("three")
	for _, p := range []*peer{one, two} {
		p.subscribe("chat")
	}
	three.subscribe("news")
	one.send(newFrame(kindPublish, 7, "chat", "hello"))
	one.expect(kindMessage, 0, "chat", "hello")
	one.expect(kindDone, 7, "", "")
	two.expect(kindMessage, 0, "chat", "hello")
	two.publish("news", "")
	three.expect(kindMessage, 0, "news", "")
	two.unsubscribe("chat")
	one.publish("chat", "bye")
	one.expect(kindMessage, 0, "chat", "bye")
	two.ask(kindPublish, "nobody hears it", "x")
	if got, want := r.Stats(), (Stats{Connections: 3, Channels: 2, Subscriptions: 2, Published: 4, Delivered: 4}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	one.Close()
	eventually(t, "the end of its subscriptions", func() bool {
		return r.Stats() == Stats{Connections: 2, Channels: 1, Subscriptions: 1, Published: 4, Delivered: 4}
	})
}

func TestASecondSubscriptionToAChannelIsNone(t *testing.T) {
	r := start(t, Options{})
	p := r.connect("one")
	p.subscribe("chat")
	p.subscribe("chat")
	p.publish("chat", "once")
	p.expect(kindMessage, 0, "chat", "once")
	p.unsubscribe("chat")
	p.unsubscribe("chat")
	if s := r.Stats(); s.Subscriptions != 0 || s.Channels != 0 {
		t.Errorf("%+v", s)
	}
}

func TestALargestMessageArrives(t *testing.T) {
	r := start(t, Options{})
	p := r.connect("one")
	name, text := strings.Repeat("n", MaxChannel), strings.Repeat("ö", MaxMessage/2)
	p.subscribe(name)
	p.publish(name, text)
	p.expect(kindMessage, 0, name, text)
}

func TestWhoBreaksTheRulesIsToldAndDisconnected(t *testing.T) {
	hello := []byte(newFrame(kindHello, Version, "", "the culprit"))
	for want, wire := range map[string][]byte{
		"first frame has the kind 4":         newFrame(kindPublish, 0, "chat", "x"),
		"speaks version 9 of the protocol":   newFrame(kindHello, 9, "", ""),
		"a message has 4294967295 bytes":     append(hello[:len(hello):len(hello)], rawHeader(1<<32-1, kindPublish, 0, 0, 0)...),
		"names no channel":                   append(hello[:len(hello):len(hello)], newFrame(kindSubscribe, 1, "", "x")...),
		"has the kind 6, which no client":    append(hello[:len(hello):len(hello)], newFrame(kindMessage, 1, "chat", "x")...),
		"has the kind 1, which no client":    append(hello[:len(hello):len(hello)], newFrame(kindHello, 1, "chat", "x")...),
		"byte 5 of a frame is 1, not 0":      rawHeader(0, kindHello, 1, 0, Version),
		"a channel has 65535 bytes; at most": rawHeader(1<<20, kindHello, 0, 1<<16-1, Version),
	} {
		t.Run(want, func(t *testing.T) {
			r := start(t, Options{})
			p := r.dial()
			p.send(wire)
			f := p.next()
			if f.kind() == kindHello {
				f = p.next()
			}
			if f.kind() != kindFailure || f.number() != 0 || !strings.Contains(string(f.message()), want) {
				t.Errorf("got %s", describe(f))
			}
			p.expectEnd()
			eventually(t, "its end", func() bool { return r.Stats().Connections == 0 })
			if !strings.Contains(r.log.String(), want) {
				t.Errorf("the log says %s", r.log)
			}
		})
	}
}

func TestWhoSaysNothingIsDisconnected(t *testing.T) {
	r := start(t, Options{HelloTimeout: 10 * time.Millisecond})
	r.dial().expectEnd()
	p := r.connect("one") // and who has said hello may be silent from then on
	time.Sleep(30 * time.Millisecond)
	p.subscribe("chat")
}

func TestTheNumberOfConnectionsHasALimit(t *testing.T) {
	r := start(t, Options{MaxConnections: 2})
	first := r.connect("one")
	r.connect("two")
	third := r.dial()
	if f := third.next(); f.kind() != kindFailure || !strings.Contains(string(f.message()), "has 2 connections") {
		t.Errorf("got %s", describe(f))
	}
	third.expectEnd()
	if !strings.Contains(r.log.String(), "limit=2") {
		t.Errorf("the log says %s", r.log)
	}
	first.Close()
	eventually(t, "the end of the first", func() bool { return r.Stats().Connections == 1 })
	r.connect("four").subscribe("chat")
}

func TestTheNumberOfSubscriptionsHasALimit(t *testing.T) {
	r := start(t, Options{MaxSubscriptions: 2})
	p := r.connect("one")
	p.subscribe("a")
	p.subscribe("b")
	p.subscribe("a") // it has that one
	p.send(newFrame(kindSubscribe, 99, "c", ""))
	if f := p.next(); f.kind() != kindFailure || f.number() != 99 || !strings.Contains(string(f.message()), "2 subscriptions") {
		t.Errorf("got %s", describe(f))
	}
	p.publish("c", "x")
	p.unsubscribe("a")
	p.subscribe("c")
	p.publish("c", "y")
	p.expect(kindMessage, 0, "c", "y")
}

// flood publishes until the broker does not take more for a moment, and says how many messages it took.
func flood(t *testing.T, p *peer, channel string, size int) (sent int) {
	t.Helper()
	text := strings.Repeat("x", size)
	for {
		p.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := p.Write(newFrame(kindPublish, 0, channel, text)); err != nil {
			return sent
		}
		sent++
	}
}

func TestASubscriberThatDoesNotReadIsDisconnectedAndTheOthersAreNot(t *testing.T) {
	r := start(t, Options{Buffer: 256 << 10, Patience: 2 * time.Second})
	stuck, reader, publisher := r.connect("process 4711"), r.connect("reader"), r.connect("publisher")
	stuck.subscribe("chat")
	reader.subscribe("chat")
	const count, size = 2000, 1 << 10 // 2 MB: more than the buffers of the broker and the socket hold
	go func() {
		for i := range count {
			publisher.Write(newFrame(kindPublish, 0, "chat", fmt.Sprintf("%d %s", i, strings.Repeat("x", size))))
		}
	}()
	for i := range count {
		if f := reader.next(); !bytes.HasPrefix(f.message(), fmt.Appendf(nil, "%d x", i)) {
			t.Fatalf("message %d is %s", i, describe(f))
		}
	}
	stuck.expectEnd()
	if s := r.Stats(); s.DroppedConnections != 1 || s.Published != count {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(r.log.String(), "process 4711") {
		t.Errorf("the log says %s", r.log)
	}
	again := r.connect("process 4711")
	again.subscribe("chat")
	publisher.publish("chat", "once more")
	again.expect(kindMessage, 0, "chat", "once more")
}

func TestAPublisherWaitsForASlowSubscriber(t *testing.T) {
	r := start(t, Options{Buffer: 64 << 10, Patience: time.Hour})
	slow, publisher := r.connect("slow"), r.connect("publisher")
	slow.subscribe("chat")
	sent := flood(t, publisher, "chat", 1<<10)
	if s := r.Stats(); sent == 0 || int(s.Published) >= sent {
		t.Errorf("%d of %d messages were taken from the publisher", s.Published, sent)
	}
	if waits := int(r.Stats().Published-r.Stats().Delivered) << 10; waits > 64<<10+writeBuffer+8<<10 {
		t.Errorf("%d bytes wait", waits)
	}
	for range int(r.Stats().Published) {
		if f := slow.next(); f.kind() != kindMessage {
			t.Fatalf("got %s", describe(f))
		}
	}
	eventually(t, "the rest", func() bool { return int(r.Stats().Published) >= sent })
	if s := r.Stats(); s.DroppedConnections != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAPublisherThatWaitsDoesNotHoldUpTheEnd(t *testing.T) {
	r := start(t, Options{Buffer: 64 << 10, Patience: time.Hour})
	slow, publisher := r.connect("slow"), r.connect("publisher")
	slow.subscribe("chat")
	flood(t, publisher, "chat", 1<<10)
	r.end(50 * time.Millisecond)
	if left := goroutines(); len(left) != 0 {
		t.Errorf("left: %s", left)
	}
}

func TestTheEndSendsWhatWaits(t *testing.T) {
	r := start(t, Options{})
	p := r.connect("one")
	p.subscribe("chat")
	const count = 1000
	for i := range count {
		p.publish("chat", fmt.Sprint(i))
	}
	p.send(newFrame(kindPublish, 5, "another", ""))
	eventually(t, "that all is published", func() bool { return r.Stats().Published == count+1 })
	ended := make(chan struct{})
	go func() { r.end(patience); close(ended) }()
	for i := range count {
		p.expect(kindMessage, 0, "chat", fmt.Sprint(i))
	}
	p.expect(kindDone, 5, "", "")
	p.expectEnd()
	<-ended
	if s := r.Stats(); s.Connections+s.Channels+s.Subscriptions != 0 {
		t.Errorf("%+v", s)
	}
}

func TestNothingIsLeftAfterTheEnd(t *testing.T) {
	before := descriptors(t)
	r := start(t, Options{})
	for i := range 20 {
		p := r.connect(fmt.Sprint(i))
		p.subscribe("chat")
		if i%3 == 0 {
			p.Close()
		}
	}
	r.dial() // has said nothing
	r.end(patience)
	if left := goroutines(); len(left) != 0 {
		t.Errorf("left: %s", left)
	}
	late, err := net.Dial("unix", r.path)
	if err == nil {
		late.Close()
		t.Error("somebody listens")
	}
	eventually(t, "the closing of all files", func() bool { return descriptors(t) <= before+21 }) // the peers' own
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestWhoConnectsAtTheEndIsToldWhy(t *testing.T) {
	r := start(t, Options{})
	r.end(patience)
	ours, theirs := net.Pipe()
	go r.admit(ours)
	text, err := io.ReadAll(theirs)
	if err != nil || !bytes.Equal(text, newFrame(kindFailure, 0, "", "the server stops")) {
		t.Errorf("%q, %v", text, err)
	}
}
