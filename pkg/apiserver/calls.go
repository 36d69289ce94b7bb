// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/registry/rollouts/rollout"
)

// The filters here hand to the storage of verbs what only the HTTP request knows, and the other way round.

// withFieldManager names the manager of fields that a request means, where it leaves that to its user agent: the
// verbs that change a spec own what they change, and the storage does not see the agent.
func withFieldManager(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := request.RequestInfoFrom(req.Context())
		if !ok || !info.IsResourceRequest || info.APIGroup != rollouts.GroupName || info.Subresource == "" || !writesBody(info.Verb) {
			handler.ServeHTTP(w, req)
			return
		}
		query := req.URL.Query()
		if query.Get(fieldManager) == "" && req.Header.Get("Content-Type") != string(types.ApplyPatchType) {
			query.Set(fieldManager, managerOf(req.UserAgent()))
			req = withQuery(req, query)
		}
		handler.ServeHTTP(w, req)
	})
}

// managerOf is what stands before the first slash of a user agent, as every API server takes it.
func managerOf(userAgent string) string {
	name, _, _ := strings.Cut(userAgent, "/")
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	if len(name) > metav1validation.FieldManagerMaxLength {
		name = strings.ToValidUTF8(name[:metav1validation.FieldManagerMaxLength], "")
	}
	return name
}

func withQuery(req *http.Request, query url.Values) *http.Request {
	location := *req.URL
	location.RawQuery = query.Encode()
	req = req.Clone(req.Context())
	req.URL = &location
	return req
}

// withRepeated answers 200 to a POST of a verb that was performed before, under the same requestID, where one that
// is performed now is answered with 201.
func withRepeated(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := request.RequestInfoFrom(req.Context())
		if !ok || !info.IsResourceRequest || info.APIGroup != rollouts.GroupName || info.Subresource == "" || info.Verb != "create" {
			handler.ServeHTTP(w, req)
			return
		}
		answer := &repeatedAnswer{ResponseWriter: w}
		ctx := rollout.WithRepeated(req.Context(), &answer.repeated)
		handler.ServeHTTP(responsewriter.WrapForHTTP1Or2(answer), req.WithContext(ctx))
	})
}

// repeatedAnswer is a response that may turn out not to have created anything.
type repeatedAnswer struct {
	http.ResponseWriter
	repeated bool
}

// Unwrap returns what is decorated.
func (a *repeatedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader answers 200 in place of 201 if nothing was done now.
func (a *repeatedAnswer) WriteHeader(code int) {
	if a.repeated && code == http.StatusCreated {
		code = http.StatusOK
	}
	a.ResponseWriter.WriteHeader(code)
}

// withCaller notes who authenticates, so that the storage can tell who acts in the name of another. It is
// outside of authentication; notingAuthenticator fills it in.
func withCaller(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		handler.ServeHTTP(w, req.WithContext(rollout.WithCaller(req.Context(), &rollout.Caller{})))
	})
}

// notingAuthenticator is an authenticator that tells the storage who it found.
type notingAuthenticator struct{ authenticator.Request }

// AuthenticateRequest authenticates a request.
func (a notingAuthenticator) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	response, ok, err := a.Request.AuthenticateRequest(req)
	if caller := rollout.CallerFrom(req.Context()); ok && caller != nil {
		caller.User = response.User
	}
	return response, ok, err
}
