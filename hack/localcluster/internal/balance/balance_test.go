// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// backend says its name to everyone who connects.
func backend(t *testing.T, name string) net.Listener {
	t.Helper()
	listener := listen(t)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, name)
			_ = connection.Close()
		}
	}()
	return listener
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func TestServe(t *testing.T) {
	first, second, front := backend(t, "first"), backend(t, "second"), listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, front, []string{first.Addr().String(), second.Addr().String()}, (&net.Dialer{Timeout: time.Second}).DialContext)
	}()

	ask := func() string {
		connection, err := net.Dial("tcp", front.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		answer, err := io.ReadAll(connection)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	for _, row := range []struct {
		name   string
		before func() error
		want   string
	}{
		{"both answer: the first one is asked", func() error { return nil }, "first"},
		{"the first one is gone: the second one is asked", first.Close, "second"},
		{"none answers: the connection ends", second.Close, ""},
	} {
		if err := row.before(); err != nil {
			t.Fatal(err)
		}
		if got := ask(); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve ended with %v", err)
	}
}
