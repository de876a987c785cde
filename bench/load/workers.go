package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// The numbers of the fields of reapi.worker.v1 that a worker has to know that runs nothing.
const (
	requestRegister, requestHeartbeat, requestCompletion = 1, 2, 4
	registerWorker, registerSession, registerSlots       = 1, 2, 3
	responseLease, leaseKey                              = 2, 1
	completionKey, completionResponse                    = 1, 2
	executeResult                                        = 1
)

const heartbeatInterval = 5 * time.Second

// serveWorkers registers workers, says so, and completes each lease with an empty result at once,
// until the input ends.
func serveWorkers(target, workersText, slotsText string) error {
	workers, err := strconv.Atoi(workersText)
	if err != nil {
		return err
	}
	slots, err := strconv.Atoi(slotsText)
	if err != nil {
		return err
	}
	failed := make(chan error, 2*workers)
	for number := range workers {
		connection, err := dial(target)
		if err != nil {
			return err
		}
		stream, err := register(connection, fmt.Sprintf("no-op-%d", number), slots)
		if err != nil {
			return err
		}
		// grpc-go wants one sender.
		outgoing := make(chan []byte, slots)
		go func() { failed <- receiveLeases(stream, outgoing) }()
		go func() { failed <- sendAll(stream, outgoing) }()
	}
	fmt.Println("ready")
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	return <-failed
}

func register(connection *grpc.ClientConn, name string, slots int) (grpc.ClientStream, error) {
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(context.Background(), both, "/reapi.worker.v1.WorkerService/Connect")
	if err != nil {
		return nil, err
	}
	worker := field(nil, registerWorker, []byte(name))
	worker = field(worker, registerSession, []byte(name))
	worker = protowire.AppendTag(worker, registerSlots, protowire.VarintType)
	worker = protowire.AppendVarint(worker, uint64(slots))
	if err := send(stream, field(nil, requestRegister, worker)); err != nil {
		return nil, err
	}
	var greeting []byte
	return stream, stream.RecvMsg(&greeting)
}

func receiveLeases(stream grpc.ClientStream, outgoing chan<- []byte) error {
	result := field(nil, executeResult, nil)
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		if lease, found := find(message, responseLease); found {
			key, _ := find(lease, leaseKey)
			completion := field(field(nil, completionKey, key), completionResponse, result)
			outgoing <- field(nil, requestCompletion, completion)
		}
	}
}

func sendAll(stream grpc.ClientStream, outgoing <-chan []byte) error {
	beats := time.NewTicker(heartbeatInterval)
	defer beats.Stop()
	for {
		message := field(nil, requestHeartbeat, nil)
		select {
		case message = <-outgoing:
		case <-beats.C:
		}
		if err := send(stream, message); err != nil {
			return err
		}
	}
}

func send(stream grpc.ClientStream, message []byte) error {
	return stream.SendMsg(mem.BufferSlice{mem.SliceBuffer(message)})
}

// field appends a field of bytes to a message.
func field(message []byte, number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, number, protowire.BytesType), content)
}

// find gives the first field of bytes with that number.
func find(message []byte, number protowire.Number) ([]byte, bool) {
	for len(message) > 0 {
		found, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return nil, false
		}
		message = message[length:]
		if found == number && kind == protowire.BytesType {
			content, length := protowire.ConsumeBytes(message)
			return content, length >= 0
		}
		length = protowire.ConsumeFieldValue(found, kind, message)
		if length < 0 {
			return nil, false
		}
		message = message[length:]
	}
	return nil, false
}
