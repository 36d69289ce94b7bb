// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"net/http"
	"runtime"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"sluice.dev/sluice/pkg/generated/clientset/versioned"
	"sluice.dev/sluice/pkg/version"
)

// fieldManager owns the fields that the plugin writes.
const fieldManager = commandName

// cluster is the cluster that the flags and the kubeconfig choose.
type cluster struct {
	// namespace is the one to work in.
	namespace string
	// enforced is true if a flag says so, and not the kubeconfig.
	enforced bool
	sluice   versioned.Interface
	kube     kubernetes.Interface
	// dynamic is for the kinds of others.
	dynamic dynamic.Interface
}

func connect(flags *genericclioptions.ConfigFlags) (*cluster, error) {
	namespace, enforced, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = fmt.Sprintf("%s/%s (%s/%s)", commandName, version.Version, runtime.GOOS, runtime.GOARCH)
	// Fairness is the business of the API server.
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return impatient{next} })
	sluice, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	others, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &cluster{namespace: namespace, enforced: enforced, sluice: sluice, kube: kube, dynamic: others}, nil
}

// impatientKey marks the contexts of requests that are not to be sent again.
type impatientKey struct{}

// withoutPatience is for requests that ask whether a server answers at all: that it says "try again
// later" is an answer then, and nothing to wait for.
func withoutPatience(ctx context.Context) context.Context {
	return context.WithValue(ctx, impatientKey{}, true)
}

// impatient keeps the client from retrying by itself the requests that are marked so.
type impatient struct{ next http.RoundTripper }

func (t impatient) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err == nil && request.Context().Value(impatientKey{}) != nil {
		response.Header.Del("Retry-After")
	}
	return response, err
}

// groupMissing says whether a request failed because nobody serves the group, not because the object is
// not there.
func groupMissing(err error) bool {
	return errors.IsNotFound(err) && errors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
