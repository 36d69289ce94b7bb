// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"sluice.dev/sluice/test/cluster"
)

const (
	// mutatingLimit and readingLimit are how many requests the server serves at once, as docs/operations.md has it.
	mutatingLimit, readingLimit = 200, 400
	// surplus is how many more are sent.
	surplus = 50
	// notYet is a version that the store will not have for long: a list of it waits for some seconds, and is refused then.
	notYet = "9000000000000000"
)

// requestLimits reaches the limits of the server, past kube-apiserver, which has its own. Beyond them everybody but the
// administrator is told to come back, and health is still answered.
func requestLimits(s *scenario) {
	component, err := s.Component(cluster.Server)
	s.must(err)
	s.deploy(newRollout("asked", 0))
	s.user("limited", "sluice-editor")
	config := s.insecure()
	config.Host = component.URL
	config.Impersonate = rest.ImpersonationConfig{UserName: "limited"}
	path := "/apis/sluice.dev/v1alpha1/namespaces/" + s.namespace + "/rollouts"
	body := encode(manifest(newRollout("dry", 0)))
	create := func() *http.Response { return s.respond(config, http.MethodPost, path+"?dryRun=All", body) }
	read := func() *http.Response { return s.respond(config, http.MethodGet, path+"/asked", "") }
	s.eventually("the rights of a user", func(context.Context) bool {
		return create().StatusCode == http.StatusCreated && read().StatusCode == http.StatusOK
	})

	writers := s.holdWrites(config, path+"?dryRun=All", body)
	s.tooMany("a write", create())
	if got := read(); got.StatusCode != http.StatusOK {
		s.Errorf("a read is answered with %s while there are too many writes", got.Status)
	}
	if codes := writers.finish(); codes[http.StatusCreated] != mutatingLimit {
		s.Errorf("of %d writes at once %d were to be let in; the answers are %v", mutatingLimit+surplus, mutatingLimit, codes)
	}
	if got := create(); got.StatusCode != http.StatusCreated {
		s.Errorf("a write is answered with %s when there are no others", got.Status)
	}

	stop := s.holdReads(config, path)
	for range 5 {
		s.eventually("a read to be one too many", func(context.Context) bool {
			got := read()
			if got.StatusCode == http.StatusOK {
				return false
			}
			s.tooMany("a read", got)
			return true
		})
		for _, probe := range []string{"/livez", "/readyz"} {
			if got := s.respond(config, http.MethodGet, probe, ""); got.StatusCode != http.StatusOK {
				s.Errorf("%s is answered with %s while there are too many reads: the server would be restarted for having much to do", probe, got.Status)
			}
		}
	}
	if got := create(); got.StatusCode != http.StatusCreated {
		s.Errorf("a write is answered with %s while there are too many reads", got.Status)
	}
	stop()
	s.eventually("a read is answered", func(context.Context) bool { return read().StatusCode == http.StatusOK })
}

// tooMany fails the test unless the answer is that there are too many, with the advice to come back.
func (s *scenario) tooMany(what string, got *http.Response) {
	s.Helper()
	if got.StatusCode != http.StatusTooManyRequests || got.Header.Get("Retry-After") == "" {
		s.Errorf("%s beyond the limit is answered with %s, Retry-After %q", what, got.Status, got.Header.Get("Retry-After"))
	}
}

// inFlight are requests that the server has let in and cannot answer yet.
type inFlight struct {
	release func()
	all     sync.WaitGroup
	refused atomic.Int32
	mu      sync.Mutex
	codes   map[int]int
}

// hold sends more requests than are let in, and returns when as many were refused as are too many.
func (s *scenario) hold(config *rest.Config, limit int, request func(context.Context) (*http.Request, error)) *inFlight {
	s.Helper()
	client, err := rest.HTTPClientFor(config)
	s.must(err)
	f := &inFlight{codes: map[int]int{}}
	for range limit + surplus {
		r, err := request(s.ctx())
		s.must(err)
		f.all.Go(func() {
			response, err := client.Do(r)
			if err != nil {
				s.Error(err)
				return
			}
			if response.StatusCode == http.StatusTooManyRequests {
				f.refused.Add(1)
			}
			response.Body.Close()
			f.mu.Lock()
			defer f.mu.Unlock()
			f.codes[response.StatusCode]++
		})
	}
	s.eventually("all that may be in flight are", func(context.Context) bool { return f.refused.Load() >= surplus })
	return f
}

// finish lets all be answered, and returns how often there was each answer.
func (f *inFlight) finish() map[int]int {
	f.release()
	f.all.Wait()
	return f.codes
}

// holdWrites sends writes whose bodies do not end.
func (s *scenario) holdWrites(config *rest.Config, path, body string) *inFlight {
	s.Helper()
	var ends []*io.PipeWriter
	held := s.hold(config, mutatingLimit, func(ctx context.Context) (*http.Request, error) {
		reader, writer := io.Pipe()
		ends = append(ends, writer)
		// Closing the answer closes the body, for which that has to know its end.
		endless := struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(body), reader), reader}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, config.Host+path, endless)
		if err == nil {
			request.Header.Set("Content-Type", "application/json")
		}
		return request, err
	})
	held.release = func() {
		for _, end := range ends {
			end.Close()
		}
	}
	return held
}

// holdReads has more reads wait than there may be at once, until the returned function is called. Each of them waits for some
// seconds for a version that does not come, and begins again.
func (s *scenario) holdReads(config *rest.Config, path string) (stop func()) {
	s.Helper()
	client, err := rest.HTTPClientFor(config)
	s.must(err)
	ctx, cancel := context.WithCancel(s.ctx())
	var all sync.WaitGroup
	for range readingLimit + surplus {
		all.Go(func() {
			for ctx.Err() == nil {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+path+"?resourceVersionMatch=NotOlderThan&resourceVersion="+notYet, nil)
				if err != nil {
					s.Error(err)
					return
				}
				if response, err := client.Do(request); err == nil {
					response.Body.Close()
				}
				select {
				case <-ctx.Done():
				case <-time.After(poll):
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}
