// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/warning"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/registry/rollouts/rollout"
)

// The query parameters that have defaults of our own.
const (
	fieldValidation = "fieldValidation"
	fieldManager    = "fieldManager"
)

// withStrictFields makes Strict the default of fieldValidation for our group, so that a field which is
// misspelt, or not served yet, is refused by name and not lost. Who asks for less gets it, and is told.
func withStrictFields(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := request.RequestInfoFrom(req.Context())
		if !ok || !info.IsResourceRequest || info.APIGroup != rollouts.GroupName || !writesBody(info.Verb) {
			handler.ServeHTTP(w, req)
			return
		}
		query := req.URL.Query()
		switch query.Get(fieldValidation) {
		case "":
			query.Set(fieldValidation, metav1.FieldValidationStrict)
			req = withQuery(req, query)
		case metav1.FieldValidationIgnore:
			warning.AddWarning(req.Context(), "", "fieldValidation=Ignore: fields that this server does not know are dropped without a word; Strict is the default here and refuses them by name")
		}
		handler.ServeHTTP(w, req)
	})
}

func writesBody(verb string) bool {
	return verb == "create" || verb == "update" || verb == "patch"
}

// withPatchRemembered keeps what is read of a patch, for the storage to explain a failure by.
func withPatchRemembered(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := request.RequestInfoFrom(req.Context())
		if ok && info.IsResourceRequest && info.APIGroup == rollouts.GroupName && info.Verb == "patch" {
			patch := &bytes.Buffer{}
			req = req.WithContext(rollout.WithPatch(req.Context(), patch))
			req.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(req.Body, patch), req.Body}
		}
		handler.ServeHTTP(w, req)
	})
}

// authentication knows whether callers can be told apart yet: the authority of the front proxy comes from the
// host, a moment after the server listens.
type authentication struct {
	frontProxy dynamiccertificates.CAContentProvider
}

// Name is the name of the health check.
func (authentication) Name() string { return "front-proxy-authority" }

// Check fails until the authority is there.
func (a authentication) Check(*http.Request) error {
	if a.frontProxy != nil && len(a.frontProxy.CurrentCABundleContent()) == 0 {
		return errors.New("the authority of the front proxy is not known yet, so nobody's identity is believed")
	}
	return nil
}

// wrap answers 503 while everybody would be taken for anonymous: a client that is told Forbidden gives up,
// where one that is told to come back does.
func (a authentication) wrap(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// Discovery, /apis/GROUP/VERSION and shorter, is for everybody.
		if strings.HasPrefix(req.URL.Path, "/apis/") && strings.Count(req.URL.Path, "/") > 3 {
			if err := a.Check(req); err != nil {
				w.Header().Set("Retry-After", "1")
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		handler.ServeHTTP(w, req)
	})
}

// withFarewell tells clients of a terminating server, with every answer, to send the next request on another connection,
// which reaches another replica as soon as they know of no other way. Nobody has to be refused for it: over HTTP/2 the
// header becomes GOAWAY, and what is under way on the connection goes on.
func withFarewell(handler http.Handler, terminating <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case <-terminating:
			w.Header().Set("Connection", "close")
		default:
		}
		handler.ServeHTTP(w, req)
	})
}
