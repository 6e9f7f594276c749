package faults_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"strconv"
)

// rewriter reads a connection message by message. What next returns is passed on; its error ends the connection.
type rewriter struct {
	next func() ([]byte, error)
	rest []byte
}

// Read implements [io.Reader].
func (r *rewriter) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		var err error
		if r.rest, err = r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// frame is a frame of HTTP/2 (RFC 9113, section 4.1): its length, type, flags and stream in 9 bytes, then its payload.
type frame []byte

const (
	frameHeader = 9
	// preface is what a client sends before its first frame (section 3.4).
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	typeData, typeHeaders = 0x0, 0x1
	flagPadded            = 0x8
)

func readFrame(in io.Reader) (frame, error) {
	f := make(frame, frameHeader)
	if _, err := io.ReadFull(in, f); err != nil {
		return nil, err
	}
	f = append(f, make([]byte, int(f[0])<<16|int(f[1])<<8|int(f[2]))...)
	_, err := io.ReadFull(in, f[frameHeader:])
	return f, err
}

func (f frame) stream() uint32 { return binary.BigEndian.Uint32(f[5:frameHeader]) &^ (1 << 31) }

// padding returns frames without data that count as much as f for the flow control of its stream.
func (f frame) padding() (all []byte) {
	for left := len(f) - frameHeader; left > 0; {
		size := min(left, 256)
		left -= size
		all = append(all, 0, byte(size>>8), byte(size), typeData, flagPadded)
		all = append(all, f[5:frameHeader]...)
		all = append(all, byte(size-1))
		all = append(all, make([]byte, size-1)...)
	}
	return all
}

// requests reads what a client of HTTP/2 sends, and calls see with each frame.
func requests(from io.Reader, see func(frame)) io.Reader {
	in := bufio.NewReaderSize(from, 64<<10)
	begun := false
	return &rewriter{next: func() ([]byte, error) {
		if !begun {
			begun = true
			first := make([]byte, len(preface))
			_, err := io.ReadFull(in, first)
			return first, err
		}
		f, err := readFrame(in)
		if err == nil {
			see(f)
		}
		return f, err
	}}
}

// answers reads what a server of HTTP/2 sends, and passes on what pass returns for each frame.
func answers(from io.Reader, pass func(frame) ([]byte, error)) io.Reader {
	in := bufio.NewReaderSize(from, 64<<10)
	return &rewriter{next: func() ([]byte, error) {
		f, err := readFrame(in)
		if err != nil {
			return nil, err
		}
		return pass(f)
	}}
}

// publications reads what a client of NATS sends, and passes on what pass returns for each message that it publishes.
func publications(from io.Reader, pass func(message []byte) []byte) io.Reader {
	in := bufio.NewReaderSize(from, 64<<10)
	return &rewriter{next: func() ([]byte, error) {
		line, err := in.ReadBytes('\n')
		if err != nil || !bytes.HasPrefix(line, []byte("PUB ")) && !bytes.HasPrefix(line, []byte("HPUB ")) {
			return line, err
		}
		fields := bytes.Fields(line)
		size, err := strconv.Atoi(string(fields[len(fields)-1]))
		if err != nil {
			return nil, err
		}
		message := append(line, make([]byte, size+len("\r\n"))...)
		if _, err := io.ReadFull(in, message[len(line):]); err != nil {
			return nil, err
		}
		return pass(message), nil
	}}
}
