// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/transport"
	"k8s.io/component-base/tracing"
	tracingapi "k8s.io/component-base/tracing/api/v1"

	"sluice.dev/sluice/pkg/version"
)

// applyTraces sends spans where --tracing-config-file says. The recommended options would send them under the name of
// kube-apiserver, whose spans are to be told from ours.
func (o *Options) applyTraces(config *genericapiserver.Config) error {
	path := o.Recommended.Traces.ConfigFile
	if path == "" {
		return nil
	}
	read, err := genericoptions.ReadTracingConfiguration(path)
	if err != nil {
		return fmt.Errorf("--tracing-config-file: %w", err)
	}
	if errs := tracingapi.ValidateTracingConfiguration(read, feature.DefaultFeatureGate, nil); len(errs) > 0 {
		return fmt.Errorf("--tracing-config-file %s: %w", path, errs.ToAggregate())
	}
	config.TracerProvider, err = tracing.NewProvider(context.Background(), read, nil, []resource.Option{resource.WithAttributes(
		attribute.String("service.name", "sluice-apiserver"),
		attribute.String("service.version", version.Version),
		attribute.String("service.instance.id", config.APIServerID),
	)})
	return err
}

// traced adds a span to each request of a client that belongs to a trace, and hands the trace on. Others get none: the
// renewal of the Lease alone would be two traces a second.
func traced(provider trace.TracerProvider) transport.WrapperFunc {
	return func(next http.RoundTripper) http.RoundTripper {
		return otelhttp.NewTransport(next, otelhttp.WithPropagators(tracing.Propagators()), otelhttp.WithTracerProvider(provider),
			otelhttp.WithFilter(func(r *http.Request) bool { return trace.SpanContextFromContext(r.Context()).IsValid() }))
	}
}
