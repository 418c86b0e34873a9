package main

import (
	"bytes"
	"testing"
)

func TestFramesOfAllSizesAreTakenPieceByPiece(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, longestFrame} {
		sent := clientFrame(opText, bytes.Repeat([]byte("x"), size))
		// A server's frame has no mask.
		head := len(sent) - size - 4
		frame := append(append([]byte{sent[0], sent[1] &^ 0x80}, sent[2:head]...), sent[head+4:]...)
		for _, part := range []int{0, 1, head - 1, len(frame) - 1} {
			if _, _, rest, complete, err := takeFrame(frame[:part]); complete || err != nil || len(rest) != part {
				t.Errorf("%d of %d bytes: complete %v, %v", part, len(frame), complete, err)
			}
		}
		opcode, payload, rest, complete, err := takeFrame(append(frame, "next"...))
		if opcode != opText || len(payload) != size || string(rest) != "next" || !complete || err != nil {
			t.Errorf("%d: opcode %d, %d bytes, rest %q, %v, %v", size, opcode, len(payload), rest, complete, err)
		}
	}
}

func TestAFrameThatCannotBeMeantIsAnError(t *testing.T) {
	if _, _, _, _, err := takeFrame([]byte{0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0}); err == nil {
		t.Error("no error")
	}
}
