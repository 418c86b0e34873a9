package respcache

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"passenger/go/internal/httpd"
)

// offered is a body that its writer has as a whole.
type offered struct {
	io.Reader
	closed chan<- struct{}
}

func (offered) Whole() {}

func (o offered) Close() error {
	o.closed <- struct{}{}
	return nil
}

// areClosed waits until n streams have been closed: that of a response may be so
// after the client has all of it.
func areClosed(t *testing.T, closed <-chan struct{}, n int) {
	t.Helper()
	patience := time.After(20 * time.Second)
	for i := range n {
		select {
		case <-closed:
		case <-patience:
			t.Fatalf("%d of %d streams are closed", i, n)
		}
	}
	if len(closed) > 0 {
		t.Errorf("%d streams more than %d are closed", len(closed), n)
	}
}

func TestABodyThatIsThereAsAWholeIsTaken(t *testing.T) {
	closed := make(chan struct{}, 10)
	s := newSite(t, Options{Bytes: 1 << 20}, func(x *httpd.Exchange) {
		page("", publicMinute)(x)
		x.Ctx.Response.ImmediateHeaderFlush = true
		n := 10_000
		if string(x.Path) == "/large" {
			n = 20_000
		}
		x.Ctx.Response.SetBodyStream(offered{strings.NewReader(strings.Repeat("x", n)), closed}, n)
	})
	for range 2 {
		if a := s.ask("GET", "/a"); len(a.body) != 10_000 || a.ContentLength != 10_000 {
			t.Errorf("%d bytes, length %d", len(a.body), a.ContentLength)
		}
		if a := s.ask("GET", "/large"); len(a.body) != 20_000 {
			t.Errorf("%d bytes", len(a.body))
		}
	}
	if got := s.cache.Status(); got.Stores != 1 || got.Hits != 1 {
		t.Errorf("%+v", got)
	}
	areClosed(t, closed, 3)
}

func TestABodyThatBreaksOffIsNeitherStoredNorCompleted(t *testing.T) {
	closed := make(chan struct{}, 10)
	s := newSite(t, Options{}, func(x *httpd.Exchange) {
		page("", publicMinute)(x)
		x.Ctx.Response.SetBodyStream(offered{io.MultiReader(strings.NewReader("hel"), broken{errors.New("gone")}), closed}, 5)
	})
	a, err := s.try("GET", "/a")
	if err == nil || a.body != "hel" && a.body != "" || s.cache.Status().Entries != 0 {
		t.Errorf("%q, %v, %+v", a.body, err, s.cache.Status())
	}
	areClosed(t, closed, 1)
}
