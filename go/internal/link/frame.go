// Package link speaks the protocols between the engine and the application
// processes: control messages, the request queue, the slot streams and the
// scoreboard. docs/protocol.md describes the bytes.
package link

import (
	"encoding/binary"
	"fmt"
)

// ProtocolVersion is the first byte of every message and frame.
const ProtocolVersion = 1

// MaxMessage is the longest message on the queue, in bytes. The kernel takes
// a SOCK_SEQPACKET message only whole, so it must stay below the smallest
// send buffer the queue is given.
const MaxMessage = 192 << 10

// MaxPayload is the longest payload of a response frame, in bytes.
const MaxPayload = 16 << 20

// Request message layout.
const (
	requestHeaderSize = 32
	typeRequest       = 1

	flagBodyFD  = 1 << 0
	flagHTTPS   = 1 << 1
	flagInterim = 1 << 2
)

// FrameType is the type of a response frame.
type FrameType uint8

// The response frames, as numbered in docs/protocol.md.
const (
	FrameHead     FrameType = 1
	FrameBody     FrameType = 2
	FrameEnd      FrameType = 3
	FrameComplete FrameType = 4
	FrameFile     FrameType = 5
	FrameOffer    FrameType = 6
	FrameSent     FrameType = 7
	FrameFailed   FrameType = 8
	FrameAborted  FrameType = 9
	FrameHijack   FrameType = 10
	FrameInterim  FrameType = 11
)

func (t FrameType) String() string {
	switch t {
	case FrameHead:
		return "head"
	case FrameBody:
		return "body"
	case FrameEnd:
		return "end"
	case FrameComplete:
		return "complete"
	case FrameFile:
		return "file"
	case FrameFailed:
		return "failed"
	case FrameAborted:
		return "aborted"
	case FrameOffer:
		return "offer"
	case FrameSent:
		return "sent"
	case FrameHijack:
		return "hijack"
	case FrameInterim:
		return "interim"
	}
	return fmt.Sprintf("unknown(%d)", uint8(t))
}

// Begins reports whether a response can begin with such a frame. An interim one
// comes before it begins.
func (t FrameType) Begins() bool {
	switch t {
	case FrameBody, FrameEnd, FrameAborted, FrameSent, FrameInterim:
		return false
	}
	return true
}

const frameHeaderSize = 16

// FrameHeader is the fixed part of a response frame.
type FrameHeader struct {
	Type   FrameType
	Status int
	Length int
	ID     uint64
}

// ParseFrameHeader decodes the first 16 bytes of b.
func ParseFrameHeader(b []byte) (FrameHeader, error) {
	if len(b) < frameHeaderSize {
		return FrameHeader{}, fmt.Errorf("response frame header has %d bytes instead of %d", len(b), frameHeaderSize)
	}
	if b[0] != ProtocolVersion {
		return FrameHeader{}, fmt.Errorf("response frame has protocol version %d, this engine speaks %d", b[0], ProtocolVersion)
	}
	h := FrameHeader{
		Type:   FrameType(b[1]),
		Status: int(binary.LittleEndian.Uint16(b[2:])),
		Length: int(binary.LittleEndian.Uint32(b[4:])),
		ID:     binary.LittleEndian.Uint64(b[8:]),
	}
	if h.Type < FrameHead || h.Type > FrameInterim {
		return h, fmt.Errorf("response frame has unknown type %d", b[1])
	}
	if h.Length > MaxPayload {
		return h, fmt.Errorf("response frame announces %d bytes, at most %d are allowed", h.Length, MaxPayload)
	}
	return h, nil
}

// Headers is the header block of a response: (name, value) pairs, undecoded.
type Headers []byte

// Next returns the first pair and the rest of the block. ok is false at the
// end and when the block is cut off; Valid tells the two apart.
func (h Headers) Next() (name, value []byte, rest Headers, ok bool) {
	if len(h) < 6 {
		return nil, nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(h))
	v := int(binary.LittleEndian.Uint32(h[2:]))
	if v > len(h) || 6+n+v > len(h) {
		return nil, nil, nil, false
	}
	return h[6 : 6+n], h[6+n : 6+n+v], h[6+n+v:], true
}

// Valid reports whether the block consists of whole pairs.
func (h Headers) Valid() bool {
	for len(h) > 0 {
		_, _, rest, ok := h.Next()
		if !ok {
			return false
		}
		h = rest
	}
	return true
}

// AppendHeader appends one pair to a header block.
func AppendHeader(h Headers, name, value string) Headers {
	h = binary.LittleEndian.AppendUint16(h, uint16(len(name)))
	h = binary.LittleEndian.AppendUint32(h, uint32(len(value)))
	h = append(h, name...)
	return append(h, value...)
}

// AppendFrame appends a whole response frame. The engine only reads frames;
// this is the worker's side, for tests and stand-ins.
func AppendFrame(dst []byte, t FrameType, status int, id uint64, payload []byte) []byte {
	dst = append(dst, ProtocolVersion, byte(t))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(status))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint64(dst, id)
	return append(dst, payload...)
}

// HeadPayload builds the payload of a head, complete, file, offer, hijack or
// interim frame.
func HeadPayload(headers Headers, body []byte) []byte {
	p := binary.LittleEndian.AppendUint32(nil, uint32(len(headers)))
	p = append(p, headers...)
	return append(p, body...)
}
