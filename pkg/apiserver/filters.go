package apiserver

import (
	"bytes"
	"io"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/warning"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/registry/rollouts/rollout"
)

const fieldValidation = "fieldValidation"

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
			location := *req.URL
			location.RawQuery = query.Encode()
			req = req.Clone(req.Context())
			req.URL = &location
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
