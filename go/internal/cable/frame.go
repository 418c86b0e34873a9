package cable

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Version of the protocol.
const Version = 1

// Limits that both ends know.
const (
	MaxChannel = 8 << 10 // bytes in the name of a channel
	MaxMessage = 1 << 20 // bytes in a message
)

// kind says what a frame is.
type kind uint8

const (
	kindHello       kind = 1 // the first frame of either side; number: the version; message, of a client: its name
	kindSubscribe   kind = 2
	kindUnsubscribe kind = 3
	kindPublish     kind = 4
	kindDone        kind = 5 // the frame with that number has taken effect
	kindMessage     kind = 6
	kindFailure     kind = 7 // message: why the frame with that number has had none; 0: why the connection ends
)

// headerSize is the length of what stands before a frame's channel:
//
//	0  u32  length of what follows the header
//	4  u8   kind
//	5  u8   0
//	6  u16  length of the channel
//	8  u32  number
const headerSize = 12

// frame is one with its header, as it is on the wire.
type frame []byte

func newFrame(k kind, number uint32, channel, message string) frame {
	f := make(frame, headerSize, headerSize+len(channel)+len(message))
	binary.LittleEndian.PutUint32(f, uint32(len(channel)+len(message)))
	binary.LittleEndian.PutUint16(f[6:], uint16(len(channel)))
	f.become(k, number)
	return append(append(f, channel...), message...)
}

func (f frame) kind() kind      { return kind(f[4]) }
func (f frame) number() uint32  { return binary.LittleEndian.Uint32(f[8:]) }
func (f frame) channel() []byte { return f[headerSize : headerSize+f.channelSize()] }
func (f frame) message() []byte { return f[headerSize+f.channelSize():] }

func (f frame) channelSize() int { return int(binary.LittleEndian.Uint16(f[6:])) }

// become makes another frame of it, with the same channel and message: what is
// published and what subscribers get differ in nothing else.
func (f frame) become(k kind, number uint32) {
	f[4] = byte(k)
	binary.LittleEndian.PutUint32(f[8:], number)
}

// violation is a breach of the protocol.
type violation string

func (v violation) Error() string { return string(v) }

// readFrame reads the next one. Nothing is allocated for a frame that is
// larger than the limits.
func readFrame(r *bufio.Reader) (frame, error) {
	header, err := r.Peek(headerSize)
	if err != nil {
		if err == io.EOF && len(header) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	size := int64(binary.LittleEndian.Uint32(header))
	channel := int64(frame(header).channelSize())
	switch {
	case header[5] != 0:
		return nil, violation(fmt.Sprintf("byte 5 of a frame is %d, not 0", header[5]))
	case channel > MaxChannel:
		return nil, violation(fmt.Sprintf("the name of a channel has %d bytes; at most %d are possible", channel, MaxChannel))
	case channel > size:
		return nil, violation(fmt.Sprintf("the name of a channel has %d bytes in a frame of %d", channel, size))
	case size-channel > MaxMessage:
		return nil, violation(fmt.Sprintf("a message has %d bytes; at most %d are possible", size-channel, MaxMessage))
	}
	f := make(frame, headerSize+size)
	if _, err := io.ReadFull(r, f); err != nil {
		return nil, err
	}
	return f, nil
}
