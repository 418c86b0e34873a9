package main

import (
	"encoding/binary"
	"errors"
)

// WebSocket opcodes (RFC 6455, 5.2).
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

var errLongFrame = errors.New("a frame of more than a megabyte: the stream cannot be read any more")

const longestFrame = 1 << 20

// takeFrame is the first frame of what a server has sent. Not complete: there
// is not enough of it yet.
func takeFrame(b []byte) (opcode byte, payload, rest []byte, complete bool, err error) {
	if len(b) < 2 {
		return 0, nil, b, false, nil
	}
	size, head := uint64(b[1]&0x7f), 2
	switch size {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	if len(b) < head {
		return 0, nil, b, false, nil
	}
	switch head {
	case 4:
		size = uint64(binary.BigEndian.Uint16(b[2:]))
	case 10:
		size = binary.BigEndian.Uint64(b[2:])
	}
	if size > longestFrame {
		return 0, nil, b, false, errLongFrame
	}
	end := head + int(size)
	if len(b) < end {
		return 0, nil, b, false, nil
	}
	return b[0] & 0x0f, b[head:end], b[end:], true, nil
}

// clientFrame is a frame that a client sends. Its mask is zero, which leaves the
// payload as it is: the mask protects proxies, and there is none here.
func clientFrame(opcode byte, payload []byte) []byte {
	b := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}
