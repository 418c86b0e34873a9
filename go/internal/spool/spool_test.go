package spool

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math/rand"
	"os"
	"testing"
)

func newSpool(t *testing.T, memory int, file int64) *Spool {
	t.Helper()
	return New(Limits{Memory: memory, File: file, Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
}

func TestEverythingComesOutInOrderWhateverTheLimits(t *testing.T) {
	data := make([]byte, 1<<20)
	rand.New(rand.NewSource(1)).Read(data)
	for name, s := range map[string]*Spool{
		"memory only":        newSpool(t, 1<<21, 0),
		"small memory, file": newSpool(t, 1000, 1<<30),
		"waiting writer":     newSpool(t, 1000, 5000),
		"no file at all":     newSpool(t, 4096, 0),
	} {
		go func() {
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+rand.Intn(3000))
				if _, err := s.Write(rest[:n]); err != nil {
					t.Error(name, err)
				}
				rest = rest[n:]
			}
			s.CloseWrite(nil)
		}()
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(data), err)
		}
		s.Close()
	}
}

func TestTheWritersErrorComesAfterWhatItWrote(t *testing.T) {
	s := newSpool(t, 100, 100)
	broken := errors.New("broken off")
	s.Write([]byte("half"))
	s.CloseWrite(broken)
	got, err := io.ReadAll(s)
	if string(got) != "half" || err != broken {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestAWaitingWriterLearnsThatTheReaderHasGone(t *testing.T) {
	s := newSpool(t, 10, 0)
	result := make(chan error)
	go func() {
		_, err := s.Write(make([]byte, 100))
		result <- err
	}()
	buf := make([]byte, 5)
	io.ReadFull(s, buf)
	s.Close()
	if err := <-result; err != ErrReaderGone {
		t.Errorf("Write returned %v", err)
	}
}

func TestAFullDiskMakesTheWriterWait(t *testing.T) {
	s := New(Limits{Memory: 10, File: 1 << 20, Dir: "/nonexistent"}, slog.New(slog.DiscardHandler))
	go func() {
		s.Write(bytes.Repeat([]byte("z"), 1000))
		s.CloseWrite(nil)
	}()
	got, err := io.ReadAll(s)
	if len(got) != 1000 || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestTemporaryFilesHaveNoName(t *testing.T) {
	dir := t.TempDir()
	f, err := TempFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("the directory holds %v", entries)
	}
	if _, err := f.WriteString("x"); err != nil {
		t.Error(err)
	}
}

func TestAWriterLearnsThatSomebodyElseHasEndedItsSpool(t *testing.T) {
	s := newSpool(t, 10, 0)
	result := make(chan error)
	go func() {
		_, err := s.Write(make([]byte, 100))
		result <- err
	}()
	broken := errors.New("broken off")
	s.CloseWrite(broken)
	if err := <-result; !errors.Is(err, ErrReaderGone) {
		t.Errorf("the waiting write ends with %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, ErrReaderGone) {
		t.Errorf("the next write ends with %v", err)
	}
	if _, err := io.ReadAll(s); err != broken {
		t.Errorf("the reader gets %v", err)
	}
}
