package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"time"

	"google.golang.org/grpc/mem"
)

// job is what to send, and how. Messages are made of segments, so that what many of them share,
// such as the bytes of large uploads, is there once.
type job struct {
	Target          string  `json:"target"`
	Path            string  `json:"path"`
	StreamsRequests bool    `json:"streams_requests"`
	StreamsReplies  bool    `json:"streams_replies"`
	InFlight        int     `json:"in_flight"`
	Connections     int     `json:"connections"`
	Seconds         float64 `json:"seconds"`
	WarmUpSeconds   float64 `json:"warm_up_seconds"`
	// Whether each call is made once; else they are made again and again.
	Once bool `json:"once"`

	segments [][]byte
	calls    [][][]uint32 // of each call its messages, of each message its segments
}

func (job *job) duration() time.Duration { return time.Duration(job.Seconds * float64(time.Second)) }
func (job *job) warmUp() time.Duration {
	return time.Duration(job.WarmUpSeconds * float64(time.Second))
}

func (job *job) message(segments []uint32) mem.BufferSlice {
	message := make(mem.BufferSlice, len(segments))
	for index, segment := range segments {
		message[index] = mem.SliceBuffer(job.segments[segment])
	}
	return message
}

// readJob reads the settings as JSON, the segments, and the calls. Every string of bytes and every
// list begins with its length, of four bytes as all numbers.
func readJob(input *bufio.Reader) (*job, error) {
	read := &job{}
	settings, err := readBytes(input)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(settings, read); err != nil {
		return nil, err
	}
	if read.segments, err = readList(input, readBytes); err != nil {
		return nil, err
	}
	read.calls, err = readList(input, readMessages)
	return read, err
}

func readMessages(input *bufio.Reader) ([][]uint32, error) {
	return readList(input, func(input *bufio.Reader) ([]uint32, error) {
		return readList(input, readNumber)
	})
}

func readList[Item any](input *bufio.Reader, readItem func(*bufio.Reader) (Item, error)) ([]Item, error) {
	length, err := readNumber(input)
	if err != nil {
		return nil, err
	}
	items := make([]Item, length)
	for index := range items {
		if items[index], err = readItem(input); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func readNumber(input *bufio.Reader) (uint32, error) {
	var data [4]byte
	_, err := io.ReadFull(input, data[:])
	return binary.BigEndian.Uint32(data[:]), err
}

func readBytes(input *bufio.Reader) ([]byte, error) {
	length, err := readNumber(input)
	if err != nil {
		return nil, err
	}
	data := make([]byte, length)
	_, err = io.ReadFull(input, data)
	return data, err
}
