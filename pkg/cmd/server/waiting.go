// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/klog/v2"
)

// waitingMessage is what is answered by a server whose etcd does not serve yet.
const waitingMessage = "this server waits for the cluster of its store: for a quorum of the members, or to be let in as one of them; its log says which"

// waitingRoom answers, in the place of the API server, while its etcd does not serve: that the process is alive, so that
// nobody restarts it, and that it is not ready. It has the listener that the API server uses afterwards.
type waitingRoom struct {
	server   *http.Server
	listener lentListener
	ended    chan struct{}
}

// openWaitingRoom makes the listener and the certificate of the server, and answers there until close.
func (o *Options) openWaitingRoom(ctx context.Context) (*waitingRoom, error) {
	if err := o.useOwnCertificate(ctx); err != nil {
		return nil, err
	}
	serving := o.Recommended.SecureServing.SecureServingOptions
	if serving.Listener == nil {
		var err error
		address := net.JoinHostPort(serving.BindAddress.String(), strconv.Itoa(serving.BindPort))
		if serving.Listener, serving.BindPort, err = genericoptions.CreateListener(serving.BindNetwork, address, net.ListenConfig{}); err != nil {
			return nil, err
		}
	}
	lent, ok := serving.Listener.(deadlineListener)
	if !ok {
		return nil, fmt.Errorf("a listener of type %T cannot be handed from the waiting room to the API server", serving.Listener)
	}
	room := &waitingRoom{listener: lentListener{lent}, ended: make(chan struct{})}
	room.server = &http.Server{
		Handler:           http.HandlerFunc(answerWaiting),
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return servedCertificate(&serving.ServerCert)
		}},
	}
	go func() {
		defer close(room.ended)
		if err := room.server.ServeTLS(room.listener, "", ""); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			klog.V(2).InfoS("Nobody is told any more that the server waits", "err", err)
		}
	}()
	return room, nil
}

// close ends the answers and leaves the listener open.
func (r *waitingRoom) close() {
	if err := r.server.Close(); err != nil {
		klog.V(2).InfoS("Closing connections of the waiting room", "err", err)
	}
	<-r.ended
	if err := r.listener.SetDeadline(time.Time{}); err != nil {
		klog.ErrorS(err, "Taking the listener back")
	}
}

// deadlineListener is a listener of which a call of Accept can be ended.
type deadlineListener interface {
	net.Listener
	SetDeadline(time.Time) error
}

// lentListener is a listener that its user does not close.
type lentListener struct{ deadlineListener }

// Close wakes up the one who accepts connections: to have ended is what the server waits for when it is closed.
func (l lentListener) Close() error { return l.SetDeadline(time.Now()) }

// servedCertificate is what the server serves with at this moment.
func servedCertificate(from *genericoptions.GeneratableKeyCert) (*tls.Certificate, error) {
	if from.GeneratedCert != nil {
		pair, err := tls.X509KeyPair(from.GeneratedCert.CurrentCertKeyContent())
		return &pair, err
	}
	pair, err := tls.LoadX509KeyPair(from.CertKey.CertFile, from.CertKey.KeyFile)
	return &pair, err
}

func answerWaiting(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case path == "/livez" || strings.HasPrefix(path, "/livez/"):
		fmt.Fprint(w, "ok")
		return
	case !strings.HasPrefix(path, "/apis"):
		http.Error(w, waitingMessage, http.StatusServiceUnavailable)
		return
	}
	status := apierrors.NewServiceUnavailable(waitingMessage).Status()
	status.Kind, status.APIVersion = "Status", "v1"
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	if err := json.NewEncoder(w).Encode(status); err != nil {
		klog.V(4).InfoS("Client went away while it was refused", "err", err)
	}
}
