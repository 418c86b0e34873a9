package static

import (
	"sync"
	"sync/atomic"
	"time"

	"passenger/go/internal/compress"
)

// codings is how many content codings there are.
const codings = compress.Zstd + 1

// form is one form in which a content can be sent: as it is, or encoded.
type form struct {
	coding compress.Coding
	validators
	body []byte // nil: it is read from a file each time
	// twin is the file that has this form, with a NUL byte at its end; nil for
	// the original itself and for what was encoded here.
	twin []byte
	identity
	young bool // it had just changed when it was looked at
}

// outgrown reports whether there is more to tell about the content by now.
func (f *form) outgrown(now func() time.Time) bool { return f.young && !f.identity.young(now()) }

func (f *form) twinName() string { return string(f.twin[:len(f.twin)-1]) }

// entry is what is known about one content of a file.
type entry struct {
	name        string
	form        // the content as it is
	contentType string
	digested    bool // its name says what is in it
	codable     bool // its type gains by compression
	borrowed    bool // body is a buffer of the response that is being made

	forms  [codings]atomic.Pointer[form] // encoded ones; nil if there are none
	probed atomic.Int64                  // when twins were looked for, nanoseconds since 1970
	vain   atomic.Uint32                 // set of codings by which the content does not become smaller
	making sync.Mutex                    // held while a form is made

	used  atomic.Bool
	kept  atomic.Bool
	index int   // in store.ring
	cost  int64 // bytes that the store counts for it
}

// made reports whether the content is encoded here, were it asked for.
func (e *entry) made(o *Options) bool {
	return e.codable && e.size >= int64(o.MinSize) && e.size <= encodeMax && e.kept.Load()
}

// varies reports whether the answer depends on Accept-Encoding, or may as soon
// as the file is kept.
func (e *entry) varies(o *Options) bool {
	return e.codable && (e.size >= int64(o.MinSize) && e.size <= encodeMax || e.hasTwin())
}

func (e *entry) hasTwin() bool {
	for i := range e.forms {
		if f := e.forms[i].Load(); f != nil && f.twin != nil {
			return true
		}
	}
	return false
}
