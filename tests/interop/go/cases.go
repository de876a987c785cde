package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func unary(ctx context.Context, connection *grpc.ClientConn) error {
	for _, method := range []string{"Unary", "AtOnce"} {
		for _, text := range []string{"héllo", strings.Repeat("x", 100_000)} {
			reply, err := call(ctx, connection, method, plan{"text": text})
			if err != nil {
				return err
			}
			if err := expect(reply["text"] == text, "%s: the reply is %v", method, reply); err != nil {
				return err
			}
		}
	}
	reply, err := call(ctx, connection, "Unary", plan{})
	return errors.Join(err, expect(len(reply) == 0, "the reply is %v", reply))
}

func collect(ctx context.Context, connection *grpc.ClientConn) error {
	for _, texts := range [][]string{{"a", "b", "c"}, {}} {
		opened, err := open(ctx, connection, "Collect")
		if err != nil {
			return err
		}
		for _, text := range texts {
			if err := opened.send(plan{"text": text}); err != nil {
				return err
			}
		}
		opened.CloseSend()
		reply, err := opened.receive()
		if err != nil {
			return err
		}
		expected := plan{"count": float64(len(texts))}
		if len(texts) > 0 {
			expected["text"] = strings.Join(texts, "")
		}
		if err := expect(maps.Equal(reply, expected), "the reply is %v", reply); err != nil {
			return err
		}
		if _, err := opened.receive(); err != io.EOF {
			return fmt.Errorf("after the reply: %v", err)
		}
	}
	return nil
}

func expand(ctx context.Context, connection *grpc.ClientConn) error {
	sizes := []any{3, 0, 100_000, 1}
	opened, err := open(ctx, connection, "Expand")
	if err != nil {
		return err
	}
	if err := errors.Join(opened.send(plan{"replies": sizes}), opened.CloseSend()); err != nil {
		return err
	}
	for _, size := range sizes {
		reply, err := opened.receive()
		if err != nil {
			return err
		}
		text, _ := reply["text"].(string)
		if err := expect(len(text) == size, "%d characters, not %d", len(text), size); err != nil {
			return err
		}
	}
	_, err = opened.receive()
	return expect(err == io.EOF, "after the replies: %v", err)
}

func converse(ctx context.Context, connection *grpc.ClientConn) error {
	opened, err := open(ctx, connection, "Converse")
	if err != nil {
		return err
	}
	for number := range 100 {
		text := fmt.Sprintf("turn %d", number)
		if err := opened.send(plan{"text": text}); err != nil {
			return err
		}
		reply, err := opened.receive()
		if err != nil {
			return err
		}
		if err := expect(reply["text"] == text, "the reply is %v", reply); err != nil {
			return err
		}
	}
	opened.CloseSend()
	_, err = opened.receive()
	return expect(err == io.EOF, "after the last turn: %v", err)
}

func deadline(ctx context.Context, connection *grpc.ClientConn) error {
	name := fmt.Sprintf("go-deadline-%d", time.Now().UnixNano())
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err := call(short, connection, "Unary", plan{"wait": name})
	if err := expect(status.Code(err) == codes.DeadlineExceeded, "it ended with %v", err); err != nil {
		return err
	}
	_, err = call(ctx, connection, "Cancelled", plan{"name": name})
	return err
}

func cancellation(ctx context.Context, connection *grpc.ClientConn) error {
	name := fmt.Sprintf("go-cancellation-%d", time.Now().UnixNano())
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	opened, err := open(short, connection, "Expand")
	if err != nil {
		return err
	}
	begun := opened.send(plan{"wait": name, "replies": []any{1}})
	if err := errors.Join(begun, opened.CloseSend()); err != nil {
		return err
	}
	if _, err := opened.receive(); err != nil {
		return err
	}
	cancel()
	if _, err := opened.receive(); status.Code(err) != codes.Canceled {
		return fmt.Errorf("it ended with %v", err)
	}
	_, err = call(ctx, connection, "Cancelled", plan{"name": name})
	return err
}

func largeMessages(ctx context.Context, connection *grpc.ClientConn) error {
	text := strings.Repeat("large ", 4<<20)
	reply, err := call(ctx, connection, "Unary", plan{"text": text})
	if err != nil {
		return err
	}
	if err := expect(reply["text"] == text, "the text is not the same"); err != nil {
		return err
	}
	_, err = call(ctx, connection, "Unary", plan{"text": strings.Repeat("large ", 11<<20)},
		grpc.MaxCallSendMsgSize(2*largest))
	return expect(status.Code(err) == codes.ResourceExhausted, "66 MiB ended with %v", err)
}

func metadataBothWays(ctx context.Context, connection *grpc.ClientConn) error {
	sent := metadata.AppendToOutgoingContext(ctx, "x-text", "a, b", "x-bytes-bin", "\x00\xff", "x-empty", "")
	var leading, trailing metadata.MD
	reply, err := call(sent, connection, "Unary", plan{
		"tell":     []any{"metadata"},
		"initial":  []any{[]any{"x-first-bin", "00ff10"}},
		"trailing": []any{[]any{"x-last", "~"}, []any{"x-last", "once more"}},
	}, grpc.Header(&leading), grpc.Trailer(&trailing))
	if err != nil {
		return err
	}
	told, _ := reply["metadata"].(plan)
	return errors.Join(
		expect(maps.Equal(told, plan{"x-text": "a, b", "x-bytes-bin": "00ff", "x-empty": ""}), "it was told %v", told),
		expect(fmt.Sprint(leading["x-first-bin"]) == "[\x00\xff\x10]", "the leading metadata is %q", leading),
		expect(fmt.Sprint(trailing["x-last"]) == "[~ once more]", "the trailing metadata is %q", trailing),
	)
}

func errorDetails(ctx context.Context, connection *grpc.ClientConn) error {
	message := "not % found: ä\n✓"
	encoded, err := proto.Marshal(&spb.Status{Code: int32(codes.NotFound), Message: message})
	if err != nil {
		return err
	}
	ending := plan{"code": 5, "message": message, "details": fmt.Sprintf("%x", encoded), "replies": []any{1}}
	_, err = call(ctx, connection, "Unary", ending)
	found := status.Convert(err)
	if err := expect(found.Code() == codes.NotFound && found.Message() == message, "it ended with %v", err); err != nil {
		return err
	}
	opened, err := open(ctx, connection, "Expand")
	if err != nil {
		return err
	}
	if err := errors.Join(opened.send(ending), opened.CloseSend()); err != nil {
		return err
	}
	if _, err := opened.receive(); err != nil {
		return err
	}
	_, err = opened.receive()
	return expect(status.Code(err) == codes.NotFound, "the stream ended with %v", err)
}

func gzipBothWays(ctx context.Context, connection *grpc.ClientConn) error {
	text := strings.Repeat("compressible ", 200_000)
	reply, err := call(ctx, connection, "Unary", plan{"text": text}, grpc.UseCompressor(gzip.Name))
	return errors.Join(err, expect(reply["text"] == text, "the text is not the same"))
}

func manyAtOnce(ctx context.Context, connection *grpc.ClientConn) error {
	const calls = 5000
	ended := make(chan error, calls)
	for number := range calls {
		go func() {
			text := strings.Repeat("m", number%700)
			reply, err := call(ctx, connection, "Unary", plan{"text": text, "count": number})
			got, _ := reply["text"].(string)
			ended <- errors.Join(err, expect(got == text, "%d: the reply is %v", number, reply))
		}()
	}
	for range calls {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}

// longTransfer sends and receives 300 MiB in small messages, over which grpc-go pings much.
func longTransfer(ctx context.Context, connection *grpc.ClientConn) error {
	const messages, size = 4800, 64 << 10
	opened, err := open(ctx, connection, "Converse")
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	text := strings.Repeat("l", size)
	go func() {
		for range messages {
			if err := opened.send(plan{"text": text}); err != nil {
				sent <- err
				return
			}
		}
		sent <- opened.CloseSend()
	}()
	for range messages {
		reply, err := opened.receive()
		if err != nil {
			return err
		}
		if reply["text"] != text {
			return errors.New("the text is not the same")
		}
	}
	return <-sent
}

func unknownMethod(ctx context.Context, connection *grpc.ClientConn) error {
	_, err := call(ctx, connection, "Absent", plan{})
	return expect(status.Code(err) == codes.Unimplemented, "it ended with %v", err)
}

func certificateName(ctx context.Context, connection *grpc.ClientConn) error {
	reply, err := call(ctx, connection, "Unary", plan{"tell": []any{"common_name"}})
	return errors.Join(err, expect(reply["common_name"] == "client", "the reply is %v", reply))
}
