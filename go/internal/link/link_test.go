package link

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestARequestComesOutAsItWentIn(t *testing.T) {
	var r Request
	r.Reset()
	r.Add(KeyRequestMethod, []byte("POST"))
	mark := r.Begin(0, []byte("HTTP_X_FOO"))
	r.AppendString("a")
	r.AppendString(",b")
	r.End(mark)
	r.EndFields()
	r.SetHTTPS()
	r.SetInlineBody([]byte("body"))
	r.SetID(77)
	p, err := ParseRequest(r.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != 77 || !p.HTTPS || p.BodyInFD || string(p.Body) != "body" || p.BodyLength != 4 {
		t.Errorf("parsed as %+v", p)
	}
	if p.Env["REQUEST_METHOD"] != "POST" || p.Env["HTTP_X_FOO"] != "a,b" {
		t.Errorf("env is %v", p.Env)
	}
}

func TestEveryKeyOfTheTableIsFoundByItsName(t *testing.T) {
	seen := map[string]bool{}
	for i := 1; i < EnvKeyCount; i++ {
		name := EnvKey(i).String()
		if seen[name] || strings.ToUpper(name) != name {
			t.Errorf("key %d: name %q is doubled or not in upper case", i, name)
		}
		seen[name] = true
		if LookupEnvKey([]byte(name)) != EnvKey(i) {
			t.Errorf("%s is not found as %d", name, i)
		}
	}
	if LookupEnvKey([]byte("HTTP_X_NOT_IN_THE_TABLE")) != 0 {
		t.Error("an unknown name has a key")
	}
}

func TestFramesOfAnotherVersionTypeOrSizeAreRefused(t *testing.T) {
	good := AppendFrame(nil, FrameEnd, 0, 1, nil)
	for name, spoil := range map[string]func(b []byte){
		"version": func(b []byte) { b[0] = 2 },
		"type":    func(b []byte) { b[1] = 99 },
		"length":  func(b []byte) { b[7] = 0xff },
	} {
		b := bytes.Clone(good)
		spoil(b)
		if _, err := ParseFrameHeader(b); err == nil {
			t.Errorf("a frame with a bad %s is accepted", name)
		}
	}
	if _, err := ParseFrameHeader(good); err != nil {
		t.Error(err)
	}
}

func TestControlMessagesCarryFieldsAndFiles(t *testing.T) {
	a, peer, err := NewControlPair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := unix.SetNonblock(int(peer.Fd()), true); err != nil {
		t.Fatal(err)
	}
	fd, _ := unix.Dup(int(peer.Fd()))
	unix.SetNonblock(fd, true)
	peer.Close()
	b, err := NewControl(os.NewFile(uintptr(fd), "b"))
	if err != nil {
		t.Fatal(err)
	}
	r, w, _ := os.Pipe()
	defer r.Close()
	if err := a.Send(Message{Verb: "spawn", Fields: map[string]string{"worker": "3", "text": "a=b\nc"}, Files: []*os.File{w}}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	m, err := b.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if m.Verb != "spawn" || m.Get("worker") != "3" || m.Get("text") != "a=b\nc" || len(m.Files) != 1 {
		t.Fatalf("received %+v", m)
	}
	if _, err := m.Files[0].WriteString("through"); err != nil {
		t.Fatal(err)
	}
	m.Close()
	got, _ := io.ReadAll(r)
	if string(got) != "through" {
		t.Errorf("the file carried %q", got)
	}
	if err := a.Send(Message{Verb: "x", Fields: map[string]string{"k": "a\x00b"}}); err == nil {
		t.Error("a field with a NUL byte is sent")
	}
	b.Close()
	if _, err := a.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the peer has closed, Receive says %v", err)
	}
}

func TestTheQueueGivesBackWhatNobodyHasTaken(t *testing.T) {
	q, err := NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var r Request
	for id := range uint64(3) {
		r.Reset()
		r.EndFields()
		r.SetID(id + 1)
		if err := q.Send(r.Bytes(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if q.Pending() == 0 {
		t.Error("three messages wait and Pending says none")
	}
	ids := q.Drain()
	if len(ids) != 3 || ids[0] != 1 || ids[2] != 3 {
		t.Errorf("drained %v", ids)
	}
	if q.Pending() != 0 {
		t.Error("the drained queue is not empty")
	}
}

func TestAFullQueueSaysSoAndTakesTheLongestMessage(t *testing.T) {
	q, err := NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	message := make([]byte, MaxMessage)
	sent := 0
	for {
		err := q.Send(message, nil)
		if err == ErrQueueBusy {
			break
		}
		if err != nil {
			t.Fatalf("after %d messages: %v", sent, err)
		}
		if sent++; sent > 100 {
			t.Fatal("the queue never fills")
		}
	}
	if sent == 0 {
		t.Error("the longest message does not fit an empty queue")
	}
}

func TestASlotStreamPutsFramesTogetherFromAnyPieces(t *testing.T) {
	headers := AppendHeader(nil, "content-type", "text/plain")
	body := bytes.Repeat([]byte("x"), 200_000)
	wire := AppendFrame(nil, FrameComplete, 200, 5, HeadPayload(headers, body))
	wire = AppendFrame(wire, FrameEnd, 0, 6, nil)
	for _, piece := range []int{1, 7, 4096, len(wire)} {
		s, peer, err := NewSlotStream()
		if err != nil {
			t.Fatal(err)
		}
		if piece == 1 {
			wire := wire[:frameHeaderSize+4+len(headers)+100]
			go func() {
				for i := range wire {
					peer.Write(wire[i : i+1])
				}
				peer.Close()
			}()
		} else {
			go func() {
				for w := wire; len(w) > 0; {
					n := min(piece, len(w))
					peer.Write(w[:n])
					w = w[n:]
				}
				peer.Close()
			}()
		}
		h, err := s.Next()
		if err != nil || h.Type != FrameComplete || h.Status != 200 || h.ID != 5 {
			t.Fatalf("piece %d: %+v, %v", piece, h, err)
		}
		got, rest, err := s.ReadHead(nil, h.Length)
		if err != nil || !bytes.Equal(got, headers) || rest != len(body) {
			t.Fatalf("piece %d: head %q, %d left, %v", piece, got, rest, err)
		}
		p := make([]byte, rest)
		err = s.ReadFull(p)
		if piece == 1 {
			if err != io.ErrUnexpectedEOF {
				t.Errorf("a frame that is cut off reads as %v", err)
			}
		} else {
			if err != nil || !bytes.Equal(p, body) {
				t.Errorf("piece %d: body differs, %v", piece, err)
			}
			if h, err := s.Next(); err != nil || h.Type != FrameEnd || h.ID != 6 {
				t.Errorf("piece %d: second frame %+v, %v", piece, h, err)
			}
			if _, err := s.Next(); err != io.EOF {
				t.Errorf("piece %d: end reads as %v", piece, err)
			}
		}
		s.Close()
	}
}

// withWriteEnd writes bytes to the worker's end of a stream, the write end of a
// pipe going along. What is returned reads EOF once that end has been closed.
func withWriteEnd(t *testing.T, peer *os.File, frames []byte) (r *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if err := unix.Sendmsg(int(peer.Fd()), frames, unix.UnixRights(int(w.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return r
}

func TestASlotStreamDoesNotKeepDescriptors(t *testing.T) {
	s, peer, err := NewSlotStream()
	if err != nil {
		t.Fatal(err)
	}
	end := AppendFrame(nil, FrameEnd, 0, 1, nil)
	first := withWriteEnd(t, peer, end)
	s.Next()
	peer.Write(end)
	s.Next() // nobody took the file of the frame before
	if _, err := first.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the other end of the pipe is still open: %v", err)
	}
	last := withWriteEnd(t, peer, end)
	if h, err := s.Next(); err != nil || h.Type != FrameEnd {
		t.Fatal(h, err)
	}
	s.Close()
	if _, err := last.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("closing the stream leaves a descriptor: %v", err)
	}
	peer.Close()
}

func TestTheFileOfAFrameIsFoundAmongOtherFrames(t *testing.T) {
	s, peer, err := NewSlotStream()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer peer.Close()
	file := AppendFrame(nil, FrameFile, 200, 2, HeadPayload(nil, []byte("/x")))
	peer.Write(AppendFrame(nil, FrameEnd, 0, 1, nil))
	first := withWriteEnd(t, peer, file)
	second := withWriteEnd(t, peer, file)
	if h, err := s.Next(); err != nil || h.Type != FrameEnd {
		t.Fatal(h, err)
	}
	for _, r := range []*os.File{first, second} {
		h, err := s.Next()
		if err != nil || h.Type != FrameFile {
			t.Fatal(h, err)
		}
		if err := s.Discard(h.Length); err != nil {
			t.Fatal(err)
		}
		fd, err := s.TakeFile()
		if err != nil {
			t.Fatal(err)
		}
		unix.Write(fd, []byte("y"))
		unix.Close(fd)
		if got, err := io.ReadAll(r); err != nil || string(got) != "y" {
			t.Errorf("through the pipe came %q, %v", got, err)
		}
	}
	if _, err := s.TakeFile(); err == nil {
		t.Error("a file is taken that never came")
	}
}

func FuzzParseRequest(f *testing.F) {
	var r Request
	r.Reset()
	r.Add(KeyPathInfo, []byte("/"))
	r.EndFields()
	f.Add(r.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseRequest(b)
		if (p == nil) == (err == nil) {
			t.Errorf("neither a request nor an error: %v %v", p, err)
		}
	})
}

func FuzzHeaderBlocks(f *testing.F) {
	f.Add([]byte(AppendHeader(AppendHeader(nil, "a", "b"), "c", "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := Headers(b)
		n := 0
		for rest := h; ; {
			name, value, next, ok := rest.Next()
			if !ok {
				if h.Valid() != (len(rest) == 0) {
					t.Errorf("Valid says %v with %d bytes left", h.Valid(), len(rest))
				}
				return
			}
			if n += 6 + len(name) + len(value); n > len(b) {
				t.Fatal("more came out than went in")
			}
			rest = next
		}
	})
}

func TestADuplicateOfTheWorkersEndReceivesAndMayBeClosed(t *testing.T) {
	q, err := NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	worker, err := q.DuplicateWorkersEnd()
	if err != nil {
		t.Fatal(err)
	}
	var r Request
	send := func(id uint64) {
		r.Reset()
		r.Add(KeyPathInfo, bytes.Repeat([]byte("x"), 5000))
		r.EndFields()
		r.SetID(id)
		if err := q.Send(r.Bytes(), nil); err != nil {
			t.Fatal(err)
		}
	}
	send(1)
	buf := make([]byte, MaxMessage)
	n, err := unix.Read(int(worker.Fd()), buf)
	if p, perr := ParseRequest(buf[:max(n, 0)]); err != nil || perr != nil || p.ID != 1 {
		t.Fatalf("received %d bytes, %v, %v", n, err, perr)
	}
	send(2)
	send(3)
	worker.Close()
	if ids := q.Drain(); len(ids) != 2 || ids[0] != 2 || ids[1] != 3 {
		t.Errorf("taken back: %v", ids)
	}
}

func TestTheScoreboardKnowsWhenTheLastTwoRequestsWereTaken(t *testing.T) {
	b, err := NewScoreboard(1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for id := range uint64(3) {
		b.Set(0, SlotStatus{State: SlotWorking, RequestID: id + 1, StartedAt: int64(100 * (id + 1))})
		b.Set(0, SlotStatus{State: SlotIdle, RequestID: id + 1, StartedAt: int64(100 * (id + 1))})
	}
	for id, want := range map[uint64]int64{1: 0, 2: 200, 3: 300, 4: 0} {
		if got := b.StartedAt(0, id); got != want {
			t.Errorf("request %d was taken at %d, not %d", id, got, want)
		}
	}
}
