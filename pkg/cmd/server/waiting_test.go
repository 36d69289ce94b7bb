// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/util/cert"
)

// Who waits for its etcd is alive and not ready, and says why; then the API server has the same listener.
func TestTheWaitingRoomHandsItsListenerOn(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := NewOptions()
	serving := o.Recommended.SecureServing.SecureServingOptions
	serving.Listener = listener
	files := &serving.ServerCert.CertKey
	files.CertFile, files.KeyFile = filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	for path, content := range map[string][]byte{files.CertFile: certificate, files.KeyFile: key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	room, err := o.openWaitingRoom(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	get := func(path string) (int, string) {
		t.Helper()
		response, err := client.Get("https://" + listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	for path, want := range map[string]int{"/livez": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/apis/sluice.dev/v1alpha1/rollouts": http.StatusServiceUnavailable} {
		if code, body := get(path); code != want || code != http.StatusOK && !strings.Contains(body, waitingMessage) {
			t.Errorf("%s: %d %q, want %d", path, code, body, want)
		}
	}
	room.close()

	next := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the API server") }))
	next.Listener.Close()
	next.Listener = listener
	next.StartTLS()
	defer next.Close()
	if code, body := get("/readyz"); code != http.StatusOK || body != "the API server" {
		t.Errorf("after the waiting room is closed: %d %q", code, body)
	}
}
