// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"

	"sluice.dev/sluice/pkg/cmd/server"
)

// watchLife is how long a watch lives while watches end all the time.
const watchLife = 300 * time.Millisecond

// fault is what a faultyHost does with a request. It returns true if it has answered it; else the host does.
type fault func(http.ResponseWriter, *http.Request) bool

// faultyHost is a way to the host on which faults can be put.
type faultyHost struct {
	// kubeconfig leads over it.
	kubeconfig string

	mu sync.Mutex
	// now is the fault that there is; nil for none. lifted is closed when it ends.
	now    fault
	lifted chan struct{}
	// hanging is true while watches are told nothing.
	hanging bool
	// flooding is the flood of the watch of pods; nil for none.
	flooding *flood
	// closed is true while connections are closed as soon as they are made.
	closed      bool
	connections map[net.Conn]bool
	watches     map[*endable]bool
	// met is how many requests and connections the faults have met.
	met int
}

// newFaultyHost starts one, for the time of the test.
func newFaultyHost(t *testing.T) *faultyHost {
	t.Helper()
	f := &faultyHost{connections: map[net.Conn]bool{}, watches: map[*endable]bool{}}
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving := &http.Server{Handler: f.handler(t), ConnState: f.connection, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	var served sync.WaitGroup
	served.Go(func() {
		if err := serving.ServeTLS(listener, "", ""); err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		f.lift()
		if err := serving.Close(); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
	f.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	config := clientcmdapi.NewConfig()
	config.Clusters["host"] = &clientcmdapi.Cluster{Server: "https://" + listener.Addr().String(), CertificateAuthorityData: certificate}
	// Who comes this way is who the test is.
	config.AuthInfos["anybody"] = clientcmdapi.NewAuthInfo()
	config.Contexts["host"] = &clientcmdapi.Context{Cluster: "host", AuthInfo: "anybody"}
	config.CurrentContext = "host"
	if err := clientcmd.WriteToFile(*config, f.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return f
}

// leadTo makes a server reach the host this way.
func (f *faultyHost) leadTo(o *server.Options) {
	o.Recommended.CoreAPI.CoreAPIKubeconfigPath = f.kubeconfig
}

func (f *faultyHost) handler(t *testing.T) http.Handler {
	t.Helper()
	target, err := url.Parse(host.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(host.Config)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		// What is cut off on purpose needs no line.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ModifyResponse: func(r *http.Response) error {
			if !isWatch(r.Request) {
				return nil
			}
			body, err := f.flooded(r)
			if err == nil {
				r.Body = f.follow(body)
			}
			return err
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if now := f.meet(); now != nil && now(w, r) {
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// meet is the fault that a request meets; nil for none.
func (f *faultyHost) meet() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now != nil {
		f.met++
	}
	return f.now
}

// put puts a fault on the way.
func (f *faultyHost) put(now fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now, f.lifted = now, make(chan struct{})
}

// lift ends every fault, and returns how often anybody has met one since the last time.
func (f *faultyHost) lift() (met int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lifted != nil {
		close(f.lifted)
	}
	met = f.met
	f.now, f.lifted, f.hanging, f.flooding, f.closed, f.met = nil, nil, false, nil, false, 0
	return met
}

// closeConnections closes those that there are, and any new one.
func (f *faultyHost) closeConnections() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for c := range f.connections {
		c.Close()
	}
}

// connection is told of every change of a connection.
func (f *faultyHost) connection(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch state {
	case http.StateNew:
		f.connections[c] = true
		if f.closed {
			f.met++
			c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		delete(f.connections, c)
	}
}

// hang answers nothing until it is lifted, nor does it tell anything more to watches.
func (f *faultyHost) hang() {
	f.put(func(_ http.ResponseWriter, r *http.Request) bool {
		f.wait(r.Context().Done())
		return false
	})
	f.mu.Lock()
	f.hanging = true
	f.mu.Unlock()
}

// wait waits until there is no fault, or no wish any more.
func (f *faultyHost) wait(done <-chan struct{}) {
	f.mu.Lock()
	lifted := f.lifted
	f.mu.Unlock()
	if lifted == nil {
		return
	}
	select {
	case <-lifted:
	case <-done:
	}
}

// slow answers everything after a delay.
func slow(delay time.Duration) fault {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
		}
		return false
	}
}

// refuseWrites answers every write with a code; with 429 it says when to come again.
func refuseWrites(code int, reason metav1.StatusReason) fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		if code == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		answer(w, code, reason, "a fault that is made on purpose")
		return true
	}
}

// refuseOldWatches answers watches that begin at a version as a host does that has forgotten it: some at once, some in
// the stream.
func refuseOldWatches() fault {
	var mu sync.Mutex
	turn := 0
	return func(w http.ResponseWriter, r *http.Request) bool {
		query := r.URL.Query()
		if from := query.Get("resourceVersion"); !isWatch(r) || from == "" || from == "0" || query.Get("sendInitialEvents") == "true" {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		if turn++; turn%2 == 0 {
			answer(w, http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
			return true
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "ERROR", "object": status(http.StatusGone, metav1.StatusReasonExpired, "too old resource version")})
		return true
	}
}

func status(code int, reason metav1.StatusReason, message string) metav1.Status {
	return metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message}
}

func answer(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// Who does not wait for the answer has none.
	_ = json.NewEncoder(w).Encode(status(code, reason, message))
}

func isWatch(r *http.Request) bool { return r.URL.Query().Get("watch") == "true" }

// endWatches ends every watch that there is, and returns how many those were.
func (f *faultyHost) endWatches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended := len(f.watches)
	for w := range f.watches {
		delete(f.watches, w)
		close(w.ended)
	}
	return ended
}

// endWatchesUntilLifted ends them, and those that are begun anew, a few times a second.
func (f *faultyHost) endWatchesUntilLifted(t *testing.T) {
	t.Helper()
	if f.endWatches() == 0 {
		t.Error("there was no watch to end")
	}
	f.put(func(_ http.ResponseWriter, r *http.Request) bool {
		if isWatch(r) {
			time.AfterFunc(watchLife, func() { f.endWatches() })
		}
		return false
	})
}

// follow makes the answer to a watch one that can be ended and can hang.
func (f *faultyHost) follow(body io.ReadCloser) io.ReadCloser {
	w := &endable{body: body, host: f, ended: make(chan struct{}), parts: make(chan part), gone: make(chan struct{})}
	f.mu.Lock()
	f.watches[w] = true
	f.mu.Unlock()
	go w.pump()
	return w
}

// endable is the answer to a watch.
type endable struct {
	body  io.ReadCloser
	host  *faultyHost
	ended chan struct{}
	parts chan part
	gone  chan struct{}
	rest  part
}

type part struct {
	data []byte
	err  error
}

// pump reads the answer of the host.
func (w *endable) pump() {
	for {
		data := make([]byte, 32<<10)
		n, err := w.body.Read(data)
		select {
		case w.parts <- part{data[:n], err}:
		case <-w.gone:
			return
		}
		if err != nil {
			return
		}
	}
}

// Read hands on what the host has answered, unless the watch was ended.
func (w *endable) Read(into []byte) (int, error) {
	if len(w.rest.data) == 0 && w.rest.err == nil {
		select {
		case <-w.ended:
			return 0, io.EOF
		case w.rest = <-w.parts:
		}
		w.host.stall(w.gone)
	}
	n := copy(into, w.rest.data)
	if w.rest.data = w.rest.data[n:]; len(w.rest.data) > 0 {
		return n, nil
	}
	return n, w.rest.err
}

// stall holds up an event while the host hangs. Other faults leave watches alone.
func (f *faultyHost) stall(done <-chan struct{}) {
	f.mu.Lock()
	hanging := f.hanging
	f.mu.Unlock()
	if hanging {
		f.wait(done)
	}
}

// Close is called when nobody follows any more.
func (w *endable) Close() error {
	w.host.mu.Lock()
	delete(w.host.watches, w)
	w.host.mu.Unlock()
	close(w.gone)
	return w.body.Close()
}
