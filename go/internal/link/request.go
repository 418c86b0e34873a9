package link

import (
	"encoding/binary"
	"fmt"
)

// Request is a request message under construction. The buffer is reused from
// request to request; Reset starts a new one.
type Request struct {
	buf []byte
}

// Reset empties the message, leaving room for its header.
func (r *Request) Reset() {
	if cap(r.buf) < requestHeaderSize {
		r.buf = make([]byte, requestHeaderSize, 2048)
	}
	r.buf = r.buf[:requestHeaderSize]
	clear(r.buf)
	r.buf[0] = ProtocolVersion
	r.buf[1] = typeRequest
}

// Add appends a field by its well-known key.
func (r *Request) Add(key EnvKey, value []byte) {
	r.buf = append(r.buf, byte(key))
	r.buf = binary.LittleEndian.AppendUint32(r.buf, uint32(len(value)))
	r.buf = append(r.buf, value...)
}

// AddString is Add for a string.
func (r *Request) AddString(key EnvKey, value string) {
	r.buf = append(r.buf, byte(key))
	r.buf = binary.LittleEndian.AppendUint32(r.buf, uint32(len(value)))
	r.buf = append(r.buf, value...)
}

// Begin opens a field whose value the caller appends in pieces through
// Append; End closes it. name is used when key is 0.
func (r *Request) Begin(key EnvKey, name []byte) (mark int) {
	r.buf = append(r.buf, byte(key))
	if key == 0 {
		r.buf = binary.LittleEndian.AppendUint16(r.buf, uint16(len(name)))
		r.buf = append(r.buf, name...)
	}
	mark = len(r.buf)
	r.buf = append(r.buf, 0, 0, 0, 0)
	return mark
}

// Append adds bytes to the value of the open field.
func (r *Request) Append(b []byte) { r.buf = append(r.buf, b...) }

// AppendString adds a string to the value of the open field.
func (r *Request) AppendString(s string) { r.buf = append(r.buf, s...) }

// End closes the field opened by Begin.
func (r *Request) End(mark int) {
	binary.LittleEndian.PutUint32(r.buf[mark:], uint32(len(r.buf)-mark-4))
}

// EndFields notes where the fields end; what follows is the body.
func (r *Request) EndFields() {
	binary.LittleEndian.PutUint32(r.buf[4:], uint32(len(r.buf)-requestHeaderSize))
}

// SetHTTPS marks the request as one that came over TLS.
func (r *Request) SetHTTPS() { r.buf[2] |= flagHTTPS }

// SetInterim says that the client takes interim responses.
func (r *Request) SetInterim() { r.buf[2] |= flagInterim }

// SetInlineBody appends the body. EndFields comes first.
func (r *Request) SetInlineBody(body []byte) {
	binary.LittleEndian.PutUint64(r.buf[16:], uint64(len(body)))
	r.buf = append(r.buf, body...)
}

// SetBodyFD announces that a body of n bytes travels as a file descriptor.
func (r *Request) SetBodyFD(n int64) {
	r.buf[2] |= flagBodyFD
	binary.LittleEndian.PutUint64(r.buf[16:], uint64(n))
}

// SetID stamps the message just before it is sent.
func (r *Request) SetID(id uint64) { binary.LittleEndian.PutUint64(r.buf[8:], id) }

// SetReceivedAt says when the request was complete (ns, CLOCK_MONOTONIC).
func (r *Request) SetReceivedAt(ns int64) { binary.LittleEndian.PutUint64(r.buf[24:], uint64(ns)) }

// ReceivedAt is what SetReceivedAt has said, 0 if it has not been called.
func (r *Request) ReceivedAt() int64 { return int64(binary.LittleEndian.Uint64(r.buf[24:])) }

// Len is the length of the message in bytes, without a body yet to be added.
func (r *Request) Len() int { return len(r.buf) }

// Bytes is the message.
func (r *Request) Bytes() []byte { return r.buf }

// Shrink gives back a buffer that one unusual request has made large.
func (r *Request) Shrink(max int) {
	if cap(r.buf) > max {
		r.buf = nil
	}
}

// ParsedRequest is a request message as a worker sees it. Only tests and
// stand-in workers written in Go decode requests.
type ParsedRequest struct {
	ID         uint64
	BodyLength uint64
	BodyInFD   bool
	HTTPS      bool
	Env        map[string]string
	Body       []byte
}

// ParseRequest decodes a request message.
func ParseRequest(b []byte) (*ParsedRequest, error) {
	if len(b) < requestHeaderSize {
		return nil, fmt.Errorf("request message has %d bytes, fewer than its header", len(b))
	}
	if b[0] != ProtocolVersion || b[1] != typeRequest {
		return nil, fmt.Errorf("request message has version %d and type %d", b[0], b[1])
	}
	p := &ParsedRequest{
		ID:         binary.LittleEndian.Uint64(b[8:]),
		BodyLength: binary.LittleEndian.Uint64(b[16:]),
		BodyInFD:   b[2]&flagBodyFD != 0,
		HTTPS:      b[2]&flagHTTPS != 0,
		Env:        map[string]string{},
	}
	n := int(binary.LittleEndian.Uint32(b[4:]))
	if requestHeaderSize+n > len(b) {
		return nil, fmt.Errorf("request message announces %d bytes of fields and has %d", n, len(b)-requestHeaderSize)
	}
	fields := b[requestHeaderSize : requestHeaderSize+n]
	p.Body = b[requestHeaderSize+n:]
	for len(fields) > 0 {
		key := EnvKey(fields[0])
		fields = fields[1:]
		var name string
		if key == 0 {
			if len(fields) < 2 || len(fields) < 2+int(binary.LittleEndian.Uint16(fields)) {
				return nil, fmt.Errorf("request field name is cut off")
			}
			l := int(binary.LittleEndian.Uint16(fields))
			name = string(fields[2 : 2+l])
			fields = fields[2+l:]
		} else if name = key.String(); name == "" {
			return nil, fmt.Errorf("request field has unknown key %d", key)
		}
		if len(fields) < 4 || uint64(len(fields)) < 4+uint64(binary.LittleEndian.Uint32(fields)) {
			return nil, fmt.Errorf("request field %s is cut off", name)
		}
		l := int(binary.LittleEndian.Uint32(fields))
		p.Env[name] = string(fields[4 : 4+l])
		fields = fields[4+l:]
	}
	return p, nil
}
