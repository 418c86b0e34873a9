package static

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"strconv"

	"passenger/go/internal/httpd"
)

// lastPiece is how much of a file is sent after the last look at whether it is
// still the same, in bytes.
const lastPiece = 64 << 10

// fileBody is a part of a file on its way to a client. A file that changes
// meanwhile breaks the response off: better no end than a wrong one.
type fileBody struct {
	file *File
	conn *httpd.Conn
	rest span
}

// FileBody marks bodies that are files, which have a known length and go to
// the client without a copy.
func (b *fileBody) FileBody() {}

// WriteTo hands the file to the kernel. It is called when the head of the
// response is on its way.
func (b *fileBody) WriteTo(io.Writer) (int64, error) {
	file, err := b.file.at(b.rest.start)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var sent int64
	for b.rest.length > 0 {
		n := b.rest.length
		if n > lastPiece {
			n -= lastPiece
		} else if err := b.file.unchanged(); err != nil {
			return sent, err
		}
		done, err := b.conn.ReadFrom(&io.LimitedReader{R: file, N: n})
		sent += done
		b.advance(done)
		if err != nil {
			return sent, err
		}
		if done < n {
			return sent, io.ErrUnexpectedEOF // it has become shorter
		}
	}
	return sent, nil
}

// Read is for who wants the bytes themselves.
func (b *fileBody) Read(p []byte) (int, error) {
	if b.rest.length == 0 {
		return 0, io.EOF
	}
	if b.rest.length <= lastPiece {
		if err := b.file.unchanged(); err != nil {
			return 0, err
		}
	}
	p = p[:min(int64(len(p)), b.rest.length)]
	n, err := b.file.ReadAt(p, b.rest.start)
	b.advance(int64(n))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *fileBody) advance(n int64) {
	b.rest.start += n
	b.rest.length -= n
}

// Close closes the file, unless it has been handed over.
func (b *fileBody) Close() error {
	if b.file == nil {
		return nil
	}
	return b.file.Close()
}

// Detach hands what is left over to who reads what it returns; closing b does
// nothing any more. There is no WriteTo: that would pass by the reader.
func (b *fileBody) Detach() io.ReadCloser {
	moved := *b
	b.file = nil
	return struct {
		io.Reader
		io.Closer
	}{&moved, &moved}
}

// multipart is a body of several parts of one content (RFC 9110 §14.6).
type multipart struct {
	io.Reader
	file *File // nil: the parts are in memory
}

// Close closes the file.
func (m *multipart) Close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

// lastLook stands before the end of a body: it is an error if the file has
// changed since it was opened, and nothing else.
type lastLook struct{ file *File }

func (l lastLook) Read([]byte) (int, error) {
	if err := l.file.unchanged(); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// newMultipart puts the parts together. The file, if not nil, is closed with
// the body.
func newMultipart(content io.ReaderAt, file *File, size int64, spans []span, partType []byte) (body *multipart, length int64, mediaType string) {
	var random [12]byte
	rand.Read(random[:])
	boundary := hex.EncodeToString(random[:])
	var parts []io.Reader
	var head []byte
	for i, s := range spans {
		head = head[:0]
		if i > 0 {
			head = append(head, "\r\n"...)
		}
		head = append(head, "--"+boundary+"\r\nContent-Type: "...)
		head = append(head, partType...)
		head = append(head, "\r\nContent-Range: "...)
		head = append(appendContentRange(head, s, size), "\r\n\r\n"...)
		parts = append(parts, bytes.NewReader(bytes.Clone(head)), io.NewSectionReader(content, s.start, s.length))
		length += int64(len(head)) + s.length
	}
	if file != nil {
		parts = append(parts, lastLook{file})
	}
	tail := "\r\n--" + boundary + "--\r\n"
	parts = append(parts, bytes.NewReader([]byte(tail)))
	length += int64(len(tail))
	return &multipart{io.MultiReader(parts...), file}, length, "multipart/byteranges; boundary=" + boundary
}

// appendUnsatisfied renders the Content-Range of a 416.
func appendUnsatisfied(dst []byte, size int64) []byte {
	return strconv.AppendInt(append(dst, "bytes */"...), size, 10)
}
