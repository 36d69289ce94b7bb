// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// webhook is a webhook of the test's own. It remembers what it was asked.
type webhook struct {
	mu    sync.Mutex
	asked []admissionv1.AdmissionRequest
	// deny says why a request is denied; empty lets it pass.
	deny func(*admissionv1.AdmissionRequest) string
	// change is a JSON patch of the object; nil for a webhook that only judges.
	change func(*admissionv1.AdmissionRequest) string
}

// ServeHTTP answers a review.
func (w *webhook) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(response, "no review", http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, *review.Request)
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if w.deny != nil {
		if why := w.deny(review.Request); why != "" {
			review.Response.Allowed = false
			review.Response.Result = &metav1.Status{Code: http.StatusForbidden, Message: why}
		}
	}
	if w.change != nil {
		review.Response.Patch, review.Response.PatchType = []byte(w.change(review.Request)), ptr.To(admissionv1.PatchTypeJSONPatch)
	}
	review.Request = nil
	_ = json.NewEncoder(response).Encode(review)
}

// denying makes it deny from now on, and forget what it was asked.
func (w *webhook) denying(deny func(*admissionv1.AdmissionRequest) string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.deny = nil, deny
}

// changing makes it change objects in another way from now on.
func (w *webhook) changing(change func(*admissionv1.AdmissionRequest) string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change = change
}

// heard is what it was asked since.
func (w *webhook) heard() []admissionv1.AdmissionRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// webhook serves a webhook on Rollouts and all their verbs for the namespace of the test, and waits until it
// is asked. It names the verbs: rollouts/* would be the controller's writes of status as well.
func (s *scenario) webhook(name string) *webhook {
	s.Helper()
	hook := &webhook{}
	configurations := s.Host.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := configurations.Create(s.ctx(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:                    "e2e.example.com",
			ClientConfig:            s.reachable(hook),
			Rules:                   []admissionregistrationv1.RuleWithOperations{writesOf(append(subresources(verbNames), "rollouts")...)},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	s.must(err)
	s.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(s.Context()), s.namespace, metav1.DeleteOptions{}); err != nil {
			s.Error(err)
		}
	})
	s.eventually("the webhook to be asked", func(context.Context) bool {
		s.dry(http.MethodPost, name, "promote", "{}")
		return len(hook.heard()) > 0
	})
	return hook
}

// reachable serves a webhook, and says how it is reached.
func (s *scenario) reachable(hook *webhook) admissionregistrationv1.WebhookClientConfig {
	s.Helper()
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	s.must(err)
	pair, err := tls.X509KeyPair(certificate, key)
	s.must(err)
	server := httptest.NewUnstartedServer(hook)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	s.Cleanup(server.Close)
	return admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: certificate}
}

// subresources are the verbs as rules name them.
func subresources(verbs []string) []string {
	named := make([]string, 0, len(verbs))
	for _, verb := range verbs {
		named = append(named, "rollouts/"+verb)
	}
	return named
}

// writesOf are creations and updates of resources of the group sluice.dev.
func writesOf(resources ...string) admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"sluice.dev"}, APIVersions: []string{"*"}, Resources: resources},
	}
}

// Webhooks see every verb twice, whichever way it is called: as a call, with its body, and as an UPDATE of the
// Rollout, with what was and what will be, and who asks. An abort they see as a call only.
func TestWebhooksSeeVerbs(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("reviewed")
	wanda := s.user("wanda", "sluice-releaser")
	s.oncePermitted(func() error { return wanda.dry(http.MethodPost, r.Name, "promote", "{}").err })
	hook := s.webhook(r.Name)
	review := func(verbs ...string) {
		t.Helper()
		before := s.get(r.Name)
		for _, verb := range verbs {
			for _, method := range writingMethods {
				hook.denying(nil)
				s.must(wanda.dry(method, r.Name, verb, `{"reason":"in review"}`).err)
				s.reviewed(hook.heard(), before, method, verb)
			}
		}
		s.unchanged(before)
	}
	review("promote", "abort", "pause", "restart", "undo")
	s.must(s.call(http.MethodPost, r.Name, "pause", "{}").err)
	s.observed(r.Name)
	review("resume")
	s.must(s.call(http.MethodPost, r.Name, "resume", "{}").err)
	s.must(s.call(http.MethodPost, r.Name, "abort", "{}").err)
	s.awaitPods(r, map[string]int{"one": 2})
	s.observed(r.Name)
	review("retry")
}

// reviewed fails the test unless these are the requests that a dry run of a verb by wanda leads to.
func (s *scenario) reviewed(asked []admissionv1.AdmissionRequest, before *v1alpha1.Rollout, method, verb string) {
	s.Helper()
	passes := 2
	if verb == "abort" {
		passes = 1
	}
	if len(asked) != passes {
		s.Fatalf("%s of %s is reviewed %d times instead of %d: %+v", method, verb, len(asked), passes, asked)
	}
	for _, request := range asked {
		if request.Name != before.Name || request.Namespace != before.Namespace || request.UserInfo.Username != "wanda" ||
			!slices.Contains(request.UserInfo.Groups, "system:authenticated") || !ptr.Deref(request.DryRun, false) ||
			request.Resource.Group != "sluice.dev" || request.Resource.Resource != "rollouts" {
			s.Errorf("%s of %s: %+v", method, verb, request)
		}
	}
	first, operation := asked[0], admissionv1.Update
	if method == http.MethodPost {
		operation = admissionv1.Create
	}
	var body struct {
		Kind   string `json:"kind"`
		Reason string `json:"reason"`
	}
	s.must(json.Unmarshal(first.Object.Raw, &body))
	if first.SubResource != verb || first.Operation != operation || body.Reason != "in review" || body.Kind != first.Kind.Kind {
		s.Errorf("%s of %s is reviewed as %s of %q: %s", method, verb, first.Operation, first.SubResource, first.Object.Raw)
	}
	if verb == "abort" {
		return
	}
	second := asked[1]
	var was, will v1alpha1.Rollout
	s.must(json.Unmarshal(second.OldObject.Raw, &was))
	s.must(json.Unmarshal(second.Object.Raw, &will))
	if second.SubResource != "" || second.Operation != admissionv1.Update || second.Kind.Kind != "Rollout" {
		s.Errorf("the change by %s is reviewed as %s of %q, a %s", verb, second.Operation, second.SubResource, second.Kind.Kind)
	}
	if !apiequality.Semantic.DeepEqual(decided(&was), decided(before)) {
		s.Errorf("the Rollout before %s is not what is stored: %+v", verb, was.Status)
	}
	if n := len(will.Status.Actions); n != len(was.Status.Actions)+1 || will.Status.Actions[n-1].Verb != verb || will.Status.Actions[n-1].User != "wanda" {
		s.Errorf("the Rollout after %s has the actions %+v", verb, will.Status.Actions)
	}
}

// What a webhook or a policy denies has changed nothing, at whichever of the two passes.
func TestDeniedVerbsChangeNothing(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("denied")
	hook := s.webhook(r.Name)
	r = s.get(r.Name)
	asCall := func(request *admissionv1.AdmissionRequest) string {
		if request.SubResource == "" {
			return ""
		}
		return "no verb in " + request.Namespace
	}
	asChange := func(request *admissionv1.AdmissionRequest) string {
		if request.SubResource != "" {
			return ""
		}
		return "no change of " + request.Name
	}
	denied := func(verbs ...string) {
		t.Helper()
		before := s.get(r.Name)
		for _, verb := range verbs {
			hook.denying(asCall)
			s.everyCallRefused(r.Name, verb, "{}", http.StatusForbidden, "no verb in "+s.namespace)
			if verb != "abort" {
				hook.denying(asChange)
				s.everyCallRefused(r.Name, verb, "{}", http.StatusForbidden, "no change of "+r.Name)
			}
		}
		s.unchanged(before)
		hook.denying(nil)
	}
	denied("promote", "pause", "restart", "undo", "abort")
	if after := s.get(r.Name); after.ResourceVersion != r.ResourceVersion || len(after.Status.Actions) > 0 {
		t.Errorf("denied verbs were stored: resourceVersion %s, then %s, with the actions %+v", r.ResourceVersion, after.ResourceVersion, after.Status.Actions)
	}
	s.must(s.call(http.MethodPost, r.Name, "pause", "{}").err)
	s.observed(r.Name)
	denied("resume")
	s.must(s.call(http.MethodPost, r.Name, "resume", "{}").err)
	s.atPause(r.Name, 1)
	// No webhook on Rollouts keeps anybody from taking an update back.
	hook.denying(asChange)
	s.must(s.call(http.MethodPatch, r.Name, "abort", "{}").err)
	s.awaitPods(r, map[string]int{"one": 2})
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
	denied("retry")
}

// What a mutating webhook makes of the body is what is performed, recorded and told, whichever way the verb is called; and
// it is held against the same rules.
func TestMutatingWebhooksChangeVerbs(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("amended")
	hook := &webhook{change: func(request *admissionv1.AdmissionRequest) string {
		return `[{"op":"replace","path":"/reason","value":"set for a ` + string(request.Operation) + ` of ` + request.SubResource + `"}]`
	}}
	configurations := s.Host.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := configurations.Create(s.ctx(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "e2e.example.com",
			ClientConfig:            s.reachable(hook),
			Rules:                   []admissionregistrationv1.RuleWithOperations{writesOf(subresources(verbNames)...)},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	s.must(err)
	s.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(s.Context()), s.namespace, metav1.DeleteOptions{}); err != nil {
			s.Error(err)
		}
	})
	s.eventually("the webhook to be asked", func(context.Context) bool {
		s.dry(http.MethodPost, r.Name, "promote", "{}")
		return len(hook.heard()) > 0
	})
	for i, method := range writingMethods {
		operation := "UPDATE"
		if method == http.MethodPost {
			operation = "CREATE"
		}
		got := s.call(method, r.Name, "promote", `{"reason":"asked"}`)
		s.must(got.err)
		want := "set for a " + operation + " of promote"
		actions := s.atPause(r.Name, int32(i)+2).Status.Actions
		if a := got.verb.Status.Action; a == nil || a.Reason != want || len(actions) != i+1 || actions[i].Reason != want {
			t.Errorf("%s: answered is %+v, recorded are %+v, with the reason %q wanted", method, a, actions, want)
		}
	}
	s.told(r.Name, corev1.EventTypeNormal, "RolloutPromoted", "set for a UPDATE of promote")
	before := s.get(r.Name)
	hook.changing(func(*admissionv1.AdmissionRequest) string {
		return `[{"op":"replace","path":"/reason","value":"` + strings.Repeat("long ", 300) + `"}]`
	})
	for _, verb := range []string{"promote", "abort"} {
		for _, method := range writingMethods {
			s.refused(s.call(method, r.Name, verb, "{}").err, http.StatusUnprocessableEntity, "reason")
		}
	}
	s.unchanged(before)
}

// A policy on Rollouts sees the change that a verb makes, and who asks; one on the verb sees the call.
func TestPoliciesSeeVerbs(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("ruled")
	vera := s.user("vera", "sluice-releaser")
	s.oncePermitted(func() error { return vera.dry(http.MethodPost, r.Name, "promote", "{}").err })
	s.policy(writesOf("rollouts", "rollouts/*"), `request.userInfo.username != "vera" || request.name != "ruled" || (has(request.subResource)`+
		` ? !(request.subResource in ["promote", "abort"]) || object.reason != "call"`+
		` : object.status.?actions.orValue([]).all(a, a.reason != "change") || request.operation != "UPDATE" || object.metadata.uid != oldObject.metadata.uid)`,
		"not in this way")
	s.eventually("the policy to hold", func(context.Context) bool {
		return vera.dry(http.MethodPost, r.Name, "promote", `{"reason":"call"}`).err != nil
	})
	for _, verb := range []string{"promote", "abort"} {
		for _, method := range writingMethods {
			s.refused(vera.call(method, r.Name, verb, `{"reason":"call"}`).err, http.StatusUnprocessableEntity, "not in this way")
		}
	}
	for _, verb := range []string{"promote", "pause", "restart", "undo"} {
		for _, method := range writingMethods {
			s.refused(vera.call(method, r.Name, verb, `{"reason":"change"}`).err, http.StatusUnprocessableEntity, "not in this way")
		}
	}
	s.unchanged(r)
	s.must(s.dry(http.MethodPost, r.Name, "promote", `{"reason":"change"}`).err)
	s.must(vera.call(http.MethodPost, r.Name, "abort", `{"reason":"change"}`).err)
}
