// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
	"k8s.io/klog/v2"
)

// retryAfterSeconds is what a refused client is told to wait. It is short because client-go repeats a
// request ten times by itself before it shows the message to anybody.
const retryAfterSeconds = 1

// Gate refuses every request for a resource of one API group until it is opened. It is closed when
// it is made. Discovery, OpenAPI and health pass always.
type Gate struct {
	group string

	mu      sync.Mutex
	message string
	// open ends when the gate closes; nil while it is closed.
	open   context.Context
	close  context.CancelCauseFunc
	opened chan struct{}
}

// NewGate returns a closed gate before the resources of the API group.
func NewGate(group string) *Gate {
	return &Gate{
		group:   group,
		message: "the server has just started and does not know yet whether its store is complete",
		opened:  make(chan struct{}),
	}
}

// Open lets requests pass from now on.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil {
		return
	}
	g.open, g.close = context.WithCancelCause(context.Background())
	g.message = ""
	close(g.opened)
}

// Close refuses requests from now on, with the message, and ends those that are under way, watches
// among them. On a closed gate it changes the message.
func (g *Gate) Close(message string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.message = message
	if g.open == nil {
		return
	}
	g.close(errors.New(message))
	g.open, g.close = nil, nil
	g.opened = make(chan struct{})
}

// WaitOpen blocks until the gate is open and returns a child of ctx that ends when the gate closes.
// It returns an error if ctx ends first. What acts upon what the store says, as the controller does,
// has to run under the returned context, and has to wait again when that has ended.
func (g *Gate) WaitOpen(ctx context.Context) (context.Context, error) {
	for {
		open, opened, _ := g.state()
		if open != nil {
			child, cancel := context.WithCancelCause(ctx)
			stop := context.AfterFunc(open, func() { cancel(context.Cause(open)) })
			context.AfterFunc(ctx, func() { stop() })
			return child, nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (g *Gate) state() (open context.Context, opened <-chan struct{}, message string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.opened, g.message
}

// Name is the name of the health check.
func (g *Gate) Name() string { return "owner-guard" }

// Check fails while the gate is closed. It belongs to readiness, not to liveness: a restart does not
// bring a lost store back.
func (g *Gate) Check(*http.Request) error {
	if open, _, message := g.state(); open == nil {
		return errors.New(message)
	}
	return nil
}

// Wrap returns a handler that asks the gate before next. It belongs between the authorization filter
// and the API handler: there every listener and every client passes it, the loopback client too, and
// the message, which names Rollouts, is read only by who may do what was asked.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.guards(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		open, _, message := g.state()
		if open == nil {
			g.refuse(w, message)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer context.AfterFunc(open, func() { cancel(context.Cause(open)) })()
		answer := &interrupted{ResponseWriter: w, gate: g, open: open}
		next.ServeHTTP(responsewriter.WrapForHTTP1Or2(answer), r.WithContext(ctx))
	})
}

// interrupted is the answer to a request during which the gate may close. A failure that comes of that is told in the
// same words as to those who come later, and with the same advice to try again.
type interrupted struct {
	http.ResponseWriter
	gate *Gate
	open context.Context
	// begun is true once there is a status, replaced if it was ours.
	begun, replaced bool
}

// Unwrap returns what is decorated.
func (i *interrupted) Unwrap() http.ResponseWriter { return i.ResponseWriter }

// WriteHeader sends the status, or refuses in place of a failure.
func (i *interrupted) WriteHeader(code int) {
	if i.begun {
		return
	}
	i.begun = true
	if code < http.StatusInternalServerError || i.open.Err() == nil {
		i.ResponseWriter.WriteHeader(code)
		return
	}
	i.replaced = true
	i.Header().Del("Content-Length")
	i.gate.refuse(i.ResponseWriter, context.Cause(i.open).Error())
}

// Write sends the body, unless it was replaced.
func (i *interrupted) Write(body []byte) (int, error) {
	if !i.begun {
		i.WriteHeader(http.StatusOK)
	}
	if i.replaced {
		return len(body), nil
	}
	return i.ResponseWriter.Write(body)
}

// guards is true for every path below /apis/<group>/<version>/. Empty segments do not count.
func (g *Gate) guards(path string) bool {
	segments := strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
	return len(segments) > 3 && segments[0] == "apis" && segments[1] == g.group
}

func (g *Gate) refuse(w http.ResponseWriter, message string) {
	status := apierrors.NewServiceUnavailable(message).Status()
	status.Kind, status.APIVersion = "Status", "v1"
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	w.WriteHeader(http.StatusServiceUnavailable)
	if err := json.NewEncoder(w).Encode(status); err != nil {
		klog.V(4).InfoS("Client went away while it was refused", "err", err)
	}
}
