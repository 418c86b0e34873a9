package compress

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestPiecesArriveBeforeTheAppGoesOn(t *testing.T) {
	for _, coding := range []string{"gzip", "br"} {
		for name, size := range map[string]int{"small pieces": 20, "pieces that fill the buffer": pieceSize, "large pieces": 3*pieceSize + 1} {
			s := newSource()
			step := newStep(options)
			response := ask(t, serve(t, step, stream(s, -1, "ETag: \"x\"")), "GET / HTTP/1.1", "Accept-Encoding: "+coding)
			// The head has come although the app has given nothing of the body.
			if h := response.Header; h.Get("Content-Encoding") != coding || h.Get("Vary") != "Accept-Encoding" || h.Get("Etag") != `W/"x"` || len(response.TransferEncoding) != 1 {
				t.Fatalf("headers %v, %v", h, response.TransferEncoding)
			}
			text := page(5 * size)
			var body io.Reader
			for i := range 5 {
				piece := text[i*size : (i+1)*size]
				s.pieces <- piece
				if body == nil {
					body = decoder(t, response)
				}
				got := make([]byte, len(piece))
				if _, err := io.ReadFull(body, got); err != nil || string(got) != piece {
					t.Fatalf("%s, %s: piece %d: %v", coding, name, i, err)
				}
			}
			close(s.pieces)
			if rest, err := io.ReadAll(body); err != nil || len(rest) != 0 {
				t.Errorf("%s, %s: %d bytes too many, %v", coding, name, len(rest), err)
			}
			eventually(t, "the source is closed once, the stream's place given back", func() bool { return s.closed.Load() == 1 && step.streams.Load() == 0 })
		}
	}
}

func TestAStreamOfKnownLengthIsCompressed(t *testing.T) {
	body := page(200_000)
	for name, source := range map[string]io.Reader{"stream": ended(body[:70_000], body[70_000:]), "file": fileSource{ended(body)}} {
		addr := serve(t, newStep(options), stream(source, len(body), "accept-ranges: bytes", `ETag: "f"`))
		response := ask(t, addr, "GET / HTTP/1.1", "Accept-Encoding: br")
		h := response.Header
		if h.Get("Content-Encoding") != "br" || h.Get("Content-Length") != "" || h.Get("Accept-Ranges") != "" || h.Get("Etag") != `W/"f"` {
			t.Errorf("%s: headers %v", name, h)
		}
		if got := decoded(t, response); got != body {
			t.Errorf("%s: %d bytes instead of %d", name, len(got), len(body))
		}
	}
}

func TestABodyThatEndsWronglyIsSeenToByItsClient(t *testing.T) {
	body := page(5000)
	failed := ended(body)
	failed.fail = errors.New("the app has died")
	for name, one := range map[string]struct {
		source *source
		length int
	}{
		"shorter than announced": {ended(body), len(body) + 1},
		"longer than announced":  {ended(body), len(body) - 1},
		"broken off":             {failed, -1},
	} {
		response := ask(t, serve(t, newStep(options), stream(one.source, one.length)), "GET / HTTP/1.1", "Accept-Encoding: gzip")
		if _, err := io.ReadAll(response.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: the body ends with %v", name, err)
		}
		eventually(t, "closed once", func() bool { return one.source.closed.Load() == 1 })
	}
}

func TestWhatCameBeforeAFailureReachesTheClient(t *testing.T) {
	s := ended("so far")
	s.fail = errors.New("the app has died")
	response := ask(t, serve(t, newStep(options), stream(s, -1)), "GET / HTTP/1.1", "Accept-Encoding: br")
	got := make([]byte, len("so far"))
	if _, err := io.ReadFull(decoder(t, response), got); err != nil || string(got) != "so far" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTheSourceIsClosedOnceWhenTheClientVanishes(t *testing.T) {
	s := newSource()
	step := newStep(options)
	response := ask(t, serve(t, step, stream(s, -1)), "GET / HTTP/1.1", "Accept-Encoding: gzip")
	s.pieces <- "hello"
	got := make([]byte, 5)
	if _, err := io.ReadFull(decoder(t, response), got); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case s.pieces <- noise(1000): // the app goes on until it is told
			case <-stop:
				return
			}
		}
	}()
	if err := vanish(response); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the source is closed", func() bool { return s.closed.Load() > 0 && step.streams.Load() == 0 })
	if n := s.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
}

func TestABodyThatIsNeverReadIsClosedOnce(t *testing.T) {
	s := newSource()
	step := newStep(options)
	x, exchange := exchanges(step, "gzip", stream(s, -1))
	exchange()
	if step.streams.Load() != 1 {
		t.Fatalf("%d streams", step.streams.Load())
	}
	body := x.Ctx.Response.BodyStream()
	x.Ctx.Response.ResetBody()
	if err := body.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
	if n := s.closed.Load(); n != 1 || step.streams.Load() != 0 {
		t.Errorf("closed %d times, %d streams", n, step.streams.Load())
	}
	if n, err := body.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("a closed body gives %d bytes, %v", n, err)
	}
}

func TestReadingGivesTheSameAsWriting(t *testing.T) {
	text := page(100_000)
	forms := map[string]string{}
	for _, how := range []string{"read", "written"} {
		x, exchange := exchanges(newStep(options), "br", stream(ended(text[:50_000], text[50_000:]), -1))
		exchange()
		var b strings.Builder
		body := x.Ctx.Response.BodyStream().(*encodedBody)
		var err error
		if how == "read" {
			_, err = io.CopyBuffer(&b, struct{ io.Reader }{body}, make([]byte, 100))
		} else {
			_, err = body.WriteTo(&b)
		}
		if err != nil {
			t.Fatal(how, err)
		}
		forms[how] = b.String()
		x.Ctx.Response.ResetBody()
	}
	if forms["read"] != forms["written"] || forms["read"] == "" {
		t.Errorf("%d and %d bytes", len(forms["read"]), len(forms["written"]))
	}
}

func TestBeyondTheLimitStreamsGoOutAsTheyAre(t *testing.T) {
	body := page(5000)
	step := newStep(options)
	step.streams.Store(maxStreams)
	s := ended(body)
	response := ask(t, serve(t, step, stream(s, -1)), "GET / HTTP/1.1", "Accept-Encoding: gzip")
	if response.Header.Get("Content-Encoding") != "" || decoded(t, response) != body {
		t.Errorf("headers %v", response.Header)
	}
	eventually(t, "closed once, the count as it was", func() bool { return s.closed.Load() == 1 && step.streams.Load() == maxStreams })
}
