// Package compress encodes responses for clients that accept it: which coding a
// client takes, which types gain by it, the encoders, and the step of the chain
// that does it to what the app answers. See docs/compression.md.
package compress

import "fmt"

// Coding is a content coding (RFC 9110 §8.4.1).
type Coding uint8

// The codings that the server knows. It makes gzip and br itself; files with
// the suffix of zstd are served if they are there.
const (
	Identity Coding = iota
	Gzip
	Brotli
	Zstd
	codings
)

// String is the coding's name in Content-Encoding and Accept-Encoding.
func (c Coding) String() string {
	switch c {
	case Identity:
		return "identity"
	case Gzip:
		return "gzip"
	case Brotli:
		return "br"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("unknown(%d)", uint8(c))
}

// Suffix is what the name of a precompressed file ends in, "" for identity.
func (c Coding) Suffix() string {
	switch c {
	case Gzip:
		return ".gz"
	case Brotli:
		return ".br"
	case Zstd:
		return ".zst"
	}
	return ""
}

// Set is a set of codings; the zero value is empty.
type Set uint8

// Has says whether c is in the set.
func (s Set) Has(c Coding) bool { return s&(1<<c) != 0 }

// With is the set with c added.
func (s Set) With(c Coding) Set { return s | 1<<c }

// produced is what the encoders of this package make.
const produced = Set(1<<Identity | 1<<Gzip | 1<<Brotli)
