package cable

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAFrameIsReadAsItWasWritten(t *testing.T) {
	var wire bytes.Buffer
	long := strings.Repeat("m", MaxMessage)
	wire.Write(newFrame(kindHello, Version, "", "process 17"))
	wire.Write(newFrame(kindPublish, 4_000_000_000, strings.Repeat("c", MaxChannel), long))
	wire.Write(newFrame(kindMessage, 0, "größe", ""))
	r := bufio.NewReader(&wire)
	for _, want := range []struct {
		kind             kind
		number           uint32
		channel, message string
	}{{kindHello, Version, "", "process 17"}, {kindPublish, 4_000_000_000, strings.Repeat("c", MaxChannel), long}, {kindMessage, 0, "größe", ""}} {
		f, err := readFrame(r)
		if err != nil {
			t.Fatal(err)
		}
		if f.kind() != want.kind || f.number() != want.number || string(f.channel()) != want.channel || string(f.message()) != want.message {
			t.Errorf("got %s", describe(f))
		}
	}
	if _, err := readFrame(r); err != io.EOF {
		t.Errorf("after the last one: %v", err)
	}
}

func TestAFrameAgainstTheRulesIsRefused(t *testing.T) {
	for want, text := range map[string][]byte{
		"byte 5 of a frame is 7":                 rawHeader(0, kindPublish, 7, 0, 0),
		"a channel has 8193 bytes; at most 8192": rawHeader(9000, kindPublish, 0, MaxChannel+1, 0),
		"has 12 bytes in a frame of 11":          rawHeader(11, kindPublish, 0, 12, 0),
		"a message has 1048577 bytes; at most":   rawHeader(MaxMessage+2, kindPublish, 0, 1, 0),
		"a message has 4294967295 bytes":         rawHeader(1<<32-1, kindPublish, 0, 0, 0),
	} {
		_, err := readFrame(bufio.NewReader(bytes.NewReader(text)))
		var breach violation
		if !errors.As(err, &breach) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
	}
	for _, text := range [][]byte{rawHeader(3, kindPublish, 0, 1, 0), rawHeader(3, kindPublish, 0, 1, 0)[:5]} {
		if _, err := readFrame(bufio.NewReader(bytes.NewReader(text))); err != io.ErrUnexpectedEOF {
			t.Errorf("a frame that breaks off: %v", err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte(newFrame(kindPublish, 3, "chat", `{"text":"hello"}`)))
	f.Add(append([]byte(newFrame(kindHello, Version, "", "one")), newFrame(kindSubscribe, 1, "chat", "")...))
	f.Add(rawHeader(MaxMessage, kindPublish, 0, 1, 0))
	f.Add(rawHeader(1<<32-1, kindPublish, 255, 1<<16-1, 1<<32-1))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r, read := bufio.NewReader(bytes.NewReader(wire)), []byte(nil)
		for {
			g, err := readFrame(r)
			if err != nil {
				break
			}
			if len(g.channel()) > MaxChannel || len(g.message()) > MaxMessage {
				t.Fatalf("a channel of %d and a message of %d bytes", len(g.channel()), len(g.message()))
			}
			again := newFrame(g.kind(), g.number(), string(g.channel()), string(g.message()))
			if !bytes.Equal(again, g) {
				t.Fatalf("%x was written as %x", []byte(g), []byte(again))
			}
			read = append(read, g...)
		}
		if !bytes.HasPrefix(wire, read) {
			t.Fatalf("%x was read from %x", read, wire)
		}
	})
}
