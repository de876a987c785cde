// A load generator for gRPC servers that knows no service: it sends calls that were encoded before.
//
// Its input is one job in binary (bench/generator.py writes it), its output one line of JSON.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

const (
	windowBytes = 4 << 20
	callLimit   = time.Minute
)

type figures struct {
	Calls   int     `json:"calls"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_ms"`
	P95     float64 `json:"p95_ms"`
	Bytes   int64   `json:"bytes"`
}

// rawCodec passes bytes through; who receives gets them, or only their size.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(message any) (mem.BufferSlice, error) {
	return message.(mem.BufferSlice), nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, received any) error {
	switch kept := received.(type) {
	case *int:
		*kept = data.Len()
	case *[]byte:
		*kept = data.Materialize()
	default:
		return fmt.Errorf("a message cannot become a %T", received)
	}
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 4 && arguments[0] == "workers" {
		return serveWorkers(arguments[1], arguments[2], arguments[3])
	}
	job, err := readJob(bufio.NewReaderSize(os.Stdin, 1<<20))
	if err != nil {
		return err
	}
	connections := make([]*grpc.ClientConn, job.Connections)
	for number := range connections {
		if connections[number], err = dial(job.Target); err != nil {
			return err
		}
		defer connections[number].Close()
	}
	measured, err := measure(job, connections)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(measured)
}

func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(windowBytes),
		grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(1<<30)))
}

// measure keeps as many calls in flight as the job says. Those that began after the warm-up count.
func measure(job *job, connections []*grpc.ClientConn) (*figures, error) {
	var next, bytes atomic.Int64
	var failed atomic.Value
	latencies := make([][]time.Duration, job.InFlight)
	begin := time.Now().Add(job.warmUp())
	end := begin.Add(job.duration())
	var running sync.WaitGroup
	for worker := range latencies {
		connection := connections[worker%len(connections)]
		running.Go(func() {
			for failed.Load() == nil {
				number := int(next.Add(1)) - 1
				started := time.Now()
				if started.After(end) || (job.Once && number >= len(job.calls)) {
					return
				}
				received, err := job.call(connection, number%len(job.calls))
				if err != nil {
					failed.CompareAndSwap(nil, err)
					return
				}
				if started.After(begin) {
					latencies[worker] = append(latencies[worker], time.Since(started))
					bytes.Add(received)
				}
			}
		})
	}
	running.Wait()
	if err, _ := failed.Load().(error); err != nil {
		return nil, err
	}
	return summary(slices.Concat(latencies...), time.Since(begin), bytes.Load())
}

func summary(latencies []time.Duration, elapsed time.Duration, bytes int64) (*figures, error) {
	if len(latencies) == 0 {
		return nil, fmt.Errorf("no call was measured")
	}
	slices.Sort(latencies)
	quantile := func(share float64) float64 {
		return latencies[int(float64(len(latencies)-1)*share)].Seconds() * 1000
	}
	return &figures{len(latencies), elapsed.Seconds(), quantile(0.5), quantile(0.95), bytes}, nil
}

// call makes the call of that number; how many bytes it received.
func (job *job) call(connection *grpc.ClientConn, number int) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	messages := job.calls[number]
	received := 0
	if !job.StreamsRequests && !job.StreamsReplies {
		err := connection.Invoke(ctx, job.Path, job.message(messages[0]), &received)
		return int64(received), err
	}
	description := &grpc.StreamDesc{ClientStreams: job.StreamsRequests, ServerStreams: job.StreamsReplies}
	stream, err := connection.NewStream(ctx, description, job.Path)
	if err != nil {
		return 0, err
	}
	for _, message := range messages {
		// The status, which is better, comes with the reply.
		if err := stream.SendMsg(job.message(message)); err == io.EOF {
			break
		} else if err != nil {
			return 0, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return 0, err
	}
	total := int64(0)
	for {
		err := stream.RecvMsg(&received)
		if err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		total += int64(received)
		if !job.StreamsReplies {
			return total, nil
		}
	}
}
