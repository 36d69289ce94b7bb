// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

const (
	// watchers are open at once, and told of changes, each of them within toldWithin.
	watchers, changes = 1000, 5
	toldWithin        = 10 * time.Second
	// slowDirect and slowThroughHost do not read what they are sent, of bigBytes each. bigChanges fill every buffer between;
	// how many that takes, the machine decides.
	slowDirect, slowThroughHost = 60, 20
	bigChanges, bigBytes        = 600, 100_000
	// promptly is how soon a watcher that reads sees each of them.
	promptly = 5 * time.Second
	// mayGrow is by how much the memory of the server may grow meanwhile. What is not read is 8 MB a change. Unit: bytes.
	mayGrow = 400 << 20
)

// thousandWatches opens a thousand watches through kube-apiserver, and times when each sees each of some changes.
func thousandWatches(s *scenario) {
	r := s.deploy(newRollout("seen", 0))
	before := s.memory()
	began := time.Now()
	opened := make([]watch.Interface, watchers)
	var opening sync.WaitGroup
	turns := make(chan int)
	for range 20 {
		opening.Go(func() {
			for i := range turns {
				w, err := s.rollouts().Watch(s.ctx(), metav1.ListOptions{ResourceVersion: r.ResourceVersion})
				if err != nil {
					s.Errorf("watch %d: %v", i, err)
					continue
				}
				opened[i] = w
			}
		})
	}
	for i := range watchers {
		turns <- i
	}
	close(turns)
	opening.Wait()
	if s.Failed() {
		s.FailNow()
	}
	for _, w := range opened {
		s.Cleanup(w.Stop)
	}
	s.Logf("%d watches were opened in %v", watchers, time.Since(began).Round(time.Millisecond))
	for change := range changes {
		value := fmt.Sprintf("%03d", change)
		_, err := s.patch(r.Name, `{"metadata":{"annotations":{"`+countAnnotation+`":"`+value+`"}}}`)
		s.must(err)
		acknowledged := time.Now()
		tooks := make([]time.Duration, watchers)
		var told sync.WaitGroup
		for i, w := range opened {
			told.Go(func() {
				if err := awaitCount(w, value, toldWithin); err != nil {
					s.Errorf("watcher %d: %v", i, err)
				}
				tooks[i] = max(0, time.Since(acknowledged))
			})
		}
		told.Wait()
		slices.Sort(tooks)
		s.Logf("change %d: half of %d watchers saw it within %v, all within %v", change, watchers, tooks[watchers/2].Round(time.Millisecond), tooks[watchers-1].Round(time.Millisecond))
	}
	s.Logf("the memory of the server grew from %d to %d MiB", before>>20, s.memory()>>20)
}

// awaitCount reads a watch until it shows the count.
func awaitCount(w watch.Interface, value string, bound time.Duration) error {
	timeout := time.After(bound)
	for {
		select {
		case event, open := <-w.ResultChan():
			if !open {
				return fmt.Errorf("the watch was closed before %s was seen", value)
			}
			if r, ok := event.Object.(*v1alpha1.Rollout); !ok {
				return fmt.Errorf("instead of %s: %+v", value, event.Object)
			} else if r.Annotations[countAnnotation] == value {
				return nil
			}
		case <-timeout:
			return fmt.Errorf("%s was not seen within %v", value, bound)
		}
	}
}

// slowWatchers has many clients watch that do not read, while large changes are made. Others see every change promptly, the
// server ends the watches of those that are slow, and keeps little of what they did not read.
func slowWatchers(s *scenario) {
	component, err := s.Component(cluster.Server)
	s.must(err)
	r := s.deploy(newRollout("large", 0))
	path := "/apis/sluice.dev/v1alpha1/namespaces/" + s.namespace + "/rollouts?watch=true&resourceVersion=" + r.ResourceVersion
	for i := range slowDirect + slowThroughHost {
		base, config := component.URL, s.insecure()
		if i >= slowDirect {
			base, config = s.Config.Host, s.Config
		}
		s.openAndDoNotRead(config, base, path)
	}
	reader, err := s.rollouts().Watch(s.ctx(), metav1.ListOptions{ResourceVersion: r.ResourceVersion})
	s.must(err)
	s.Cleanup(reader.Stop)
	ended, before := s.endedWatches(), s.memory()
	padding, worst, most := strings.Repeat("x", bigBytes), time.Duration(0), before
	change, made := 0, time.Now()
	for ; s.endedWatches()-ended < slowDirect+slowThroughHost; change++ {
		if change == bigChanges {
			s.Fatalf("of %d slow watches %v were ended by %d changes", slowDirect+slowThroughHost, s.endedWatches()-ended, change)
		}
		value := fmt.Sprintf("%03d", change)
		_, err := s.patch(r.Name, `{"metadata":{"annotations":{"example.com/padding":"`+padding+`","`+countAnnotation+`":"`+value+`"}}}`)
		s.must(err)
		acknowledged := time.Now()
		if err := awaitCount(reader, value, promptly); err != nil {
			s.Fatalf("a watcher that reads: %v", err)
		}
		worst, most = max(worst, time.Since(acknowledged)), max(most, s.memory())
	}
	s.Logf("a watcher that reads saw each of %d changes within %v; %d slow watches had been ended by then, after %v; the memory of the server grew from %d to at most %d MiB",
		change, worst.Round(time.Millisecond), slowDirect+slowThroughHost, time.Since(made).Round(time.Second), before>>20, most>>20)
	if most-before > mayGrow {
		s.Errorf("the memory of the server grew by %d MiB, of which %d were to be enough", (most-before)>>20, mayGrow>>20)
	}
}

// openAndDoNotRead sends a request on a connection of its own, and reads no more than the beginning of the answer.
func (s *scenario) openAndDoNotRead(config *rest.Config, base, path string) {
	s.Helper()
	address, err := url.Parse(base)
	s.must(err)
	conn, err := net.Dial("tcp", address.Host)
	s.must(err)
	s.Cleanup(func() { conn.Close() })
	s.must(conn.(*net.TCPConn).SetReadBuffer(4096))
	security, err := rest.TLSConfigFor(config)
	s.must(err)
	security.NextProtos, security.ServerName = []string{"http/1.1"}, address.Hostname()
	secure := tls.Client(conn, security)
	request, err := http.NewRequestWithContext(s.ctx(), http.MethodGet, base+path, nil)
	s.must(err)
	s.must(request.Write(secure))
	status, err := bufio.NewReaderSize(secure, 64).ReadString('\n')
	s.must(err)
	s.contains(status, "200 OK")
}

// endedWatches is how many watches of Rollouts the server has ended because nobody read them.
func (s *scenario) endedWatches() int {
	s.Helper()
	return int(s.metric("apiserver_terminated_watchers_total", `resource="rollouts"`))
}

// memory is what the server has resident. Unit: bytes.
func (s *scenario) memory() int {
	s.Helper()
	return int(s.metric("process_resident_memory_bytes", ""))
}

// metric is the sum of those series of a metric of the server that have the label.
func (s *scenario) metric(name, label string) (sum float64) {
	s.Helper()
	component, err := s.Component(cluster.Server)
	s.must(err)
	got := s.ask(component.URL, http.MethodGet, "/metrics", "")
	if got.code != http.StatusOK {
		s.Fatalf("the metrics of the server are answered with %d: %s", got.code, got.body)
	}
	for line := range strings.Lines(got.body) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if found, labels, _ := strings.Cut(series, "{"); found == name && strings.Contains(labels, label) {
			number, err := strconv.ParseFloat(value, 64)
			s.must(err)
			sum += number
		}
	}
	return sum
}
