// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/sandbox"
	"sluice.dev/sluice/hack/localcluster/internal/state"
)

// errPortTaken means that a component found its port occupied.
var errPortTaken = errors.New("its port is taken")

// StartOptions say how a single component is started.
type StartOptions struct {
	// ExtraArgs are added to the component's arguments, for this run only.
	ExtraArgs []string
	// Wait says whether to wait until the component is ready, up to Timeout.
	Wait    bool
	Timeout time.Duration
}

// Start starts one component of a control plane that is up.
func (c *Cluster) Start(ctx context.Context, name string, options StartOptions) error {
	recorded, err := c.find(name)
	if err != nil {
		return err
	}
	if recorded.Process.Alive() {
		return fmt.Errorf("%s is running already (process %d)", name, recorded.Process.PID)
	}
	return c.start(ctx, name, options)
}

func (c *Cluster) start(ctx context.Context, name string, options StartOptions) error {
	task := c.reporter.Begin("starting " + name)
	result := ""
	defer func() { task.Done(result) }()
	definition, child, err := c.spawn(name, options.ExtraArgs)
	if err != nil {
		return err
	}
	if !options.Wait {
		result = fmt.Sprintf("%s started, process %d", name, child.PID)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, options.Timeout)
	defer cancel()
	answer, err := waitHealthy(ctx, c.prober(definition), definition.Health, child.Exited)
	if err == nil {
		result = fmt.Sprintf("%s ready at %s", name, definition.URL)
		return nil
	}
	return c.explain(ctx, name, answer, err, options.Timeout)
}

// explain says why a component did not become ready, in the words of its own log.
func (c *Cluster) explain(ctx context.Context, name, answer string, cause error, timeout time.Duration) error {
	recorded, err := c.find(name)
	if err != nil {
		return err
	}
	lines := lastLines(recorded)
	switch {
	case errors.Is(cause, errExited) && strings.Contains(lines, "address already in use"):
		return fmt.Errorf("%s ended while it started, %w; %s", name, errPortTaken, lines)
	case errors.Is(cause, errExited):
		return fmt.Errorf("%s ended while it started; %s", name, lines)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s is not ready after %v, it answers: %s; %s", name, timeout, answer, lines)
	default:
		return cause
	}
}

// Stop stops one component with the signal. It counts as stopped on purpose.
func (c *Cluster) Stop(ctx context.Context, name string, signal os.Signal) error {
	recorded, err := c.find(name)
	if err != nil {
		return err
	}
	unwant := func(s *state.State) {
		if recorded, err := s.Find(name); err == nil {
			recorded.Wanted = false
		}
	}
	if err := c.record(unwant); err != nil || !recorded.Process.Alive() {
		return err
	}
	task := c.reporter.Begin("stopping " + name)
	if err := recorded.Process.Stop(ctx, signal, stopGrace); err != nil {
		task.Done("")
		return err
	}
	task.Done(name + " stopped")
	return nil
}

// Restart stops the component with the signal and starts it again.
func (c *Cluster) Restart(ctx context.Context, name string, signal os.Signal, options StartOptions) error {
	if err := c.Stop(ctx, name, signal); err != nil {
		return err
	}
	return c.Start(ctx, name, options)
}

// errExited means that a process has ended while it was waited for.
var errExited = errors.New("it ended")

// prober asks components for their health, those in a sandbox from inside it. Their certificates come from
// several authorities, one of which Sluice makes for itself; nothing secret is sent and the answer is believed
// only to be health.
func prober(recorded *state.State, definition component.Component) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	if first, err := recorded.Find(component.Sandbox); err == nil && definition.Inside {
		transport.DialContext = sandbox.Dialer{PID: first.Process.PID}.DialContext
	}
	return &http.Client{Timeout: 3 * time.Second, Transport: transport}
}

func (c *Cluster) prober(definition component.Component) *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return prober(c.state, definition)
}

// waitHealthy polls the URL until it answers 200, the process ends, or the context does. It returns
// what was answered last.
func waitHealthy(ctx context.Context, client *http.Client, url string, exited <-chan struct{}) (answer string, err error) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		healthy, text := probe(ctx, client, url)
		if healthy {
			return text, nil
		}
		if ctx.Err() == nil {
			answer = text
		}
		select {
		case <-exited:
			return answer, errExited
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-ticker.C:
		}
	}
}

// probe asks once. The text is the answer in short, for people.
func probe(ctx context.Context, client *http.Client, url string) (healthy bool, text string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return false, "nothing listens at " + url
		}
		return false, err.Error()
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return true, "ok"
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 8<<10))
	if err != nil {
		return false, err.Error()
	}
	return false, response.Status + failedChecks(string(body))
}

// failedChecks picks the checks that failed out of the answer of a Kubernetes server.
func failedChecks(body string) string {
	var failed []string
	for line := range strings.SplitSeq(body, "\n") {
		if check, found := strings.CutPrefix(line, "[-]"); found {
			failed = append(failed, strings.TrimSuffix(check, ": reason withheld"))
		}
	}
	if len(failed) == 0 {
		return ""
	}
	return ": " + strings.Join(failed, ", ")
}
