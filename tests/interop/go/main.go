// Calls the service of ../service.py with grpc-go: one case a run, by its name.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	service     = "/tests.interop.v1.Interop/"
	runDeadline = 60 * time.Second
	largest     = 64 << 20
)

// plan is a message: what the server shall do, or what it tells.
type plan = map[string]any

var cases = map[string]func(context.Context, *grpc.ClientConn) error{
	"unary":            unary,
	"collect":          collect,
	"expand":           expand,
	"converse":         converse,
	"deadline":         deadline,
	"cancellation":     cancellation,
	"large messages":   largeMessages,
	"metadata":         metadataBothWays,
	"error details":    errorDetails,
	"gzip":             gzipBothWays,
	"many at once":     manyAtOnce,
	"long transfer":    longTransfer,
	"unknown method":   unknownMethod,
	"certificate name": certificateName,
}

func main() {
	target := flag.String("target", "", "HOST:PORT")
	folder := flag.String("tls", "", "folder of authority.pem; without it no TLS")
	shows := flag.Bool("shows-certificate", false, "show client.pem of that folder")
	flag.Parse()
	if err := run(*target, *folder, *shows, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(target, folder string, shows bool, name string) error {
	chosen, known := cases[name]
	if !known {
		return fmt.Errorf("there is no case %q", name)
	}
	transport := insecure.NewCredentials()
	if folder != "" {
		config, err := tlsConfig(folder, shows)
		if err != nil {
			return err
		}
		transport = credentials.NewTLS(config)
	}
	// No window is set: then grpc-go estimates the bandwidth, with pings (BDP).
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largest), grpc.MaxCallSendMsgSize(largest)))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), runDeadline)
	defer cancel()
	return chosen(ctx, connection)
}

func tlsConfig(folder string, shows bool) (*tls.Config, error) {
	authority, err := os.ReadFile(filepath.Join(folder, "authority.pem"))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(authority)
	if shows {
		own, err := tls.LoadX509KeyPair(filepath.Join(folder, "client.pem"), filepath.Join(folder, "client.key"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

func call(ctx context.Context, connection *grpc.ClientConn, method string, request plan, options ...grpc.CallOption) (plan, error) {
	message, err := structpb.NewStruct(request)
	if err != nil {
		return nil, err
	}
	reply := &structpb.Struct{}
	if err := connection.Invoke(ctx, service+method, message, reply, options...); err != nil {
		return nil, err
	}
	return reply.AsMap(), nil
}

// stream is a call of any cardinality, from plan to reply.
type stream struct{ grpc.ClientStream }

func open(ctx context.Context, connection *grpc.ClientConn, method string, options ...grpc.CallOption) (stream, error) {
	both := &grpc.StreamDesc{StreamName: method, ServerStreams: true, ClientStreams: true}
	opened, err := connection.NewStream(ctx, both, service+method, options...)
	return stream{opened}, err
}

func (s stream) send(request plan) error {
	message, err := structpb.NewStruct(request)
	if err != nil {
		return err
	}
	return s.SendMsg(message)
}

func (s stream) receive() (plan, error) {
	reply := &structpb.Struct{}
	err := s.RecvMsg(reply)
	return reply.AsMap(), err
}

// expect says what is wrong, if something is.
func expect(condition bool, format string, values ...any) error {
	if condition {
		return nil
	}
	return fmt.Errorf(format, values...)
}
