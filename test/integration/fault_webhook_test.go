// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const faultWebhook = "fault-of-a-webhook"

// beginWebhook has a webhook refuse what the policy of faultPolicy refuses: more than half of the pods of a ReplicaSet.
func beginWebhook(t *testing.T) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(review))
	t.Cleanup(server.Close)
	_, err := host.Host.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &registrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: faultWebhook},
		Webhooks: []registrationv1.ValidatingWebhook{{
			Name: faultWebhook + ".sluice.dev",
			ClientConfig: registrationv1.WebhookClientConfig{
				URL:      ptr.To(server.URL),
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []registrationv1.RuleWithOperations{{
				Operations: []registrationv1.OperationType{registrationv1.Update},
				Rule:       registrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"replicasets"}},
			}},
			FailurePolicy:           ptr.To(registrationv1.Fail),
			SideEffects:             ptr.To(registrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	awaitRefusal(t, faultWebhook)
}

func endWebhook(ctx context.Context) error {
	return host.Host.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, faultWebhook, metav1.DeleteOptions{})
}

// review is the webhook.
func review(w http.ResponseWriter, r *http.Request) {
	asked := admissionv1.AdmissionReview{}
	var is, was appsv1.ReplicaSet
	for _, part := range []func() error{
		func() error { return json.NewDecoder(r.Body).Decode(&asked) },
		func() error { return json.Unmarshal(asked.Request.Object.Raw, &is) },
		func() error { return json.Unmarshal(asked.Request.OldObject.Raw, &was) },
	} {
		if err := part(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	answer := &admissionv1.AdmissionResponse{UID: asked.Request.UID, Allowed: *is.Spec.Replicas <= *was.Spec.Replicas || *is.Spec.Replicas <= fleetReplicas/2}
	if !answer.Allowed {
		answer.Result = &metav1.Status{Message: fmt.Sprintf("%d pods are too many for %s", *is.Spec.Replicas, faultWebhook), Code: http.StatusForbidden}
	}
	w.Header().Set("Content-Type", "application/json")
	// Nobody is there to be told if it is not taken.
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{TypeMeta: asked.TypeMeta, Response: answer})
}
