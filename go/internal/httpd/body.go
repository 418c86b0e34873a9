package httpd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// prefetch is how much of a request body fasthttp reads before the handler
// runs, in bytes.
const prefetch = 16 << 10

// Body says where a request body has been put.
type Body struct {
	Inline []byte   // the whole body, if it is not in File
	File   *os.File // unlinked, positioned at 0; the caller closes it
	Length int64
}

// HasBody reports whether the request announces a body.
func (x *Exchange) HasBody() bool {
	return x.Ctx.Request.Header.ContentLength() != 0 && x.Ctx.RequestBodyStream() != nil
}

// ReadBody takes the whole body from the client: up to inlineMax bytes into
// buf, more into a file made by temp. A chunked body comes out decoded.
func (x *Exchange) ReadBody(buf []byte, inlineMax int, temp func() (*os.File, error)) (Body, error) {
	announced := x.Ctx.Request.Header.ContentLength()
	x.Conn.beginBody(announced < 0)
	defer x.Conn.endBody()
	stream := decoded{x.Ctx.RequestBodyStream(), x.Conn}
	if cap(buf) < inlineMax {
		buf = make([]byte, 0, inlineMax)
	}
	buf = buf[:0]
	for len(buf) < inlineMax && announced != len(buf) {
		n, err := stream.Read(buf[len(buf):inlineMax])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			if announced >= 0 && len(buf) < announced {
				return Body{}, bodyError(io.ErrUnexpectedEOF)
			}
			return Body{Inline: buf, Length: int64(len(buf))}, nil
		}
		if err != nil {
			return Body{}, bodyError(err)
		}
	}
	if announced == len(buf) {
		return Body{Inline: buf, Length: int64(len(buf))}, nil
	}
	return spill(buf, stream, int64(announced), temp)
}

// spill writes the body to a file.
func spill(head []byte, stream io.Reader, announced int64, temp func() (*os.File, error)) (Body, error) {
	file, err := temp()
	if err != nil {
		return Body{}, storageError(err)
	}
	total, err := io.Copy(file, io.MultiReader(bytes.NewReader(head), stream))
	if err == nil && announced >= 0 && total < announced {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		var path *os.PathError
		if errors.As(err, &path) {
			return Body{}, storageError(err)
		}
		return Body{}, bodyError(err)
	}
	return Body{File: file, Length: total}, nil
}

// ErrStorage marks failures to buffer a body on this machine.
var ErrStorage = errors.New("request body could not be buffered")

func storageError(err error) error { return fmt.Errorf("%w: %w", ErrStorage, err) }

// bodyError says what is wrong with a body in terms of HTTP.
func bodyError(err error) error {
	var network net.Error
	switch {
	case errors.As(err, &network) && network.Timeout():
		return &ParseError{http.StatusRequestTimeout, "the request body did not arrive in time"}
	case errors.Is(err, errFraming):
		return &ParseError{http.StatusBadRequest, errFraming.Error()}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &ParseError{http.StatusBadRequest, "the request body is shorter than announced"}
	}
	return &ParseError{http.StatusBadRequest, "malformed request body"}
}

// decoded is a body without its framing; it credits the connection for what
// comes out.
type decoded struct {
	io.Reader
	conn *Conn
}

func (d decoded) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	d.conn.decoded(n)
	return n, err
}
