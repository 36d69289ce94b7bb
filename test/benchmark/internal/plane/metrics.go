// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// Metrics are the counters of one component at one time.
type Metrics map[string]*dto.MetricFamily

// Labels select series: each label must have one of its values.
type Labels map[string][]string

// Metrics reads the counters of KubeAPIServer or of SluiceAPIServer.
func (p *Plane) Metrics(ctx context.Context, name string) (Metrics, error) {
	client, err := p.direct(name)
	if err != nil {
		return nil, err
	}
	text, err := client.Get().AbsPath("/metrics").SetHeader("Accept", "text/plain").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the metrics of %s: %w", name, err)
	}
	return ParseMetrics(bytes.NewReader(text))
}

// Profile writes a CPU profile of SluiceAPIServer to a file. It returns when the time is over.
func (p *Plane) Profile(ctx context.Context, length time.Duration, path string) error {
	client, err := p.direct(SluiceAPIServer)
	if err != nil {
		return err
	}
	profile, err := client.Get().AbsPath("/debug/pprof/profile").Param("seconds", fmt.Sprint(int(length.Seconds()))).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("profiling %s: %w", SluiceAPIServer, err)
	}
	return os.WriteFile(path, profile, 0o644)
}

// direct is a client of one component, past the aggregator.
func (p *Plane) direct(name string) (*rest.RESTClient, error) {
	c, err := p.component(name)
	if err != nil {
		return nil, err
	}
	return p.directTo(c.URL)
}

func (p *Plane) directTo(url string) (*rest.RESTClient, error) {
	config := rest.CopyConfig(p.Config)
	config.Host = url
	// Each component has an authority of its own. Both ends are processes that the launcher started on the
	// loopback interface, and what is read is not secret.
	config.TLSClientConfig.CAData, config.TLSClientConfig.CAFile, config.TLSClientConfig.Insecure = nil, "", true
	config.GroupVersion = &schema.GroupVersion{}
	config.NegotiatedSerializer = serializer.WithoutConversionCodecFactory{CodecFactory: scheme.Codecs}
	return rest.RESTClientFor(config)
}

// ParseMetrics reads counters in the text format of Prometheus; any other text is an error.
func ParseMetrics(text io.Reader) (Metrics, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("the metrics are not in Prometheus' text format: %w", err)
	}
	return families, nil
}

// Sum adds up the counters of that name that have the labels; 0 if there are none.
func (m Metrics) Sum(name string, labels Labels) float64 {
	var sum float64
	for _, series := range m[name].GetMetric() {
		if labels.match(series) {
			sum += series.GetCounter().GetValue()
		}
	}
	return sum
}

// Added is by how much the sum has grown since an earlier reading.
func (m Metrics) Added(earlier Metrics, name string, labels Labels) float64 {
	return m.Sum(name, labels) - earlier.Sum(name, labels)
}

func (l Labels) match(series *dto.Metric) bool {
	for label, allowed := range l {
		value := ""
		for _, pair := range series.GetLabel() {
			if pair.GetName() == label {
				value = pair.GetValue()
			}
		}
		if !slices.Contains(allowed, value) {
			return false
		}
	}
	return true
}
