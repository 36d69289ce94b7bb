// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// badInput is a change that makes a valid manifest invalid. The changes are merge patches, so that the same
// one serves to create, to update, to apply and to patch.
type badInput struct {
	name  string
	patch string
	// says is what the refusal contains: the path of the field, as a rule.
	says string
	// updateOnly is for what is wrong in relation to what is stored.
	updateOnly bool
	// merged is the kind of apply by which an update is valid, since it is merged with what is stored: what
	// another manager owns stays, and kubectl itself merges two containers of one name.
	merged string
}

var badInputs = []badInput{
	{name: "no-strategy", patch: `{"spec":{"strategy":{"canary":null}}}`, says: "spec.strategy", merged: "apply --server-side"},
	{name: "both-strategies", patch: `{"spec":{"strategy":{"blueGreen":{"activeService":"a"}}}}`, says: "exactly one strategy must be set"},
	{name: "weight-negative", patch: `{"spec":{"strategy":{"canary":{"steps":[{"setWeight":-1}]}}}}`, says: "spec.strategy.canary.steps[0].setWeight"},
	{name: "weight-101", patch: `{"spec":{"strategy":{"canary":{"steps":[{"pause":{}},{"setWeight":101}]}}}}`, says: "spec.strategy.canary.steps[1].setWeight"},
	{name: "step-of-two-kinds", patch: `{"spec":{"strategy":{"canary":{"steps":[{"setWeight":20,"pause":{}}]}}}}`, says: "spec.strategy.canary.steps[0]"},
	{name: "step-of-no-kind", patch: `{"spec":{"strategy":{"canary":{"steps":[{}]}}}}`, says: "spec.strategy.canary.steps[0]"},
	{name: "duration-garbage", patch: `{"spec":{"strategy":{"canary":{"steps":[{"pause":{"duration":"abc"}}]}}}}`, says: "spec.strategy.canary.steps[0].pause.duration"},
	{name: "duration-negative", patch: `{"spec":{"strategy":{"canary":{"steps":[{"pause":{"duration":-1}}]}}}}`, says: "spec.strategy.canary.steps[0].pause.duration"},
	{name: "no-room-to-move", patch: `{"spec":{"strategy":{"canary":{"maxSurge":0,"maxUnavailable":0}}}}`, says: "spec.strategy.canary.maxUnavailable"},
	{name: "unavailable-above-100", patch: `{"spec":{"strategy":{"canary":{"maxUnavailable":"101%"}}}}`, says: "spec.strategy.canary.maxUnavailable"},
	{name: "surge-garbage", patch: `{"spec":{"strategy":{"canary":{"maxSurge":"many"}}}}`, says: "spec.strategy.canary.maxSurge"},
	{name: "labels-do-not-match", patch: `{"spec":{"template":{"metadata":{"labels":{"app":"other"}}}}}`, says: "spec.template.metadata.labels"},
	{name: "selector-empty", patch: `{"spec":{"selector":{"matchLabels":null}}}`, says: "spec.selector"},
	{name: "selector-changed", patch: `{"spec":{"selector":{"matchLabels":{"more":"yes"}},"template":{"metadata":{"labels":{"more":"yes"}}}}}`, says: "spec.selector", updateOnly: true},
	{name: "restart-never", patch: `{"spec":{"template":{"spec":{"restartPolicy":"Never"}}}}`, says: "spec.template.spec.restartPolicy"},
	{name: "replicas-negative", patch: `{"spec":{"replicas":-1}}`, says: "spec.replicas"},
	{name: "deadline-too-short", patch: `{"spec":{"minReadySeconds":30,"progressDeadlineSeconds":30}}`, says: "spec.progressDeadlineSeconds"},
	// What follows is known to the host only, or to its types.
	{name: "quantity-negative", patch: `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"a","resources":{"requests":{"cpu":"-1"}}}]}}}}`, says: "spec.template.spec.containers[0].resources.requests"},
	{name: "quantity-garbage", patch: `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"a","resources":{"requests":{"cpu":"1x"}}}]}}}}`, says: "spec.template.spec.containers[0].resources.requests"},
	{name: "containers-twice", patch: `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"a"},{"name":"main","image":"b"}]}}}}`, says: "spec.template.spec.containers", merged: "apply"},
	{name: "pull-policy", patch: `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"a","imagePullPolicy":"Perhaps"}]}}}}`, says: "spec.template.spec.containers[0].imagePullPolicy"},
	{name: "no-containers", patch: `{"spec":{"template":{"spec":{"containers":[]}}}}`, says: "spec.template.spec.containers"},
	// Fields that nobody knows, and those that other systems serve and Sluice does not, yet.
	{name: "unknown-field", patch: `{"spec":{"replica":3}}`, says: "spec.replica"},
	{name: "unknown-in-template", patch: `{"spec":{"template":{"spec":{"container":"a"}}}}`, says: "spec.template.spec.container"},
	{name: "analysis-of-strategy", patch: `{"spec":{"strategy":{"canary":{"analysis":{"templates":[]}}}}}`, says: "spec.strategy.canary.analysis"},
	{name: "analysis-of-step", patch: `{"spec":{"strategy":{"canary":{"steps":[{"analysis":{"templates":[]}}]}}}}`, says: "spec.strategy.canary.steps[0].analysis"},
	{name: "traffic-routing", patch: `{"spec":{"strategy":{"canary":{"trafficRouting":{"nginx":{"stableIngress":"a"}}}}}}`, says: "spec.strategy.canary.trafficRouting"},
}

// bad is the manifest of a valid Rollout of this name without pods, made invalid.
func (b badInput) bad(s *scenario, name string) map[string]any {
	s.Helper()
	good := manifest(newRollout(name, 0, weight(20), pause()))
	return mergePatch(s, good, b.patch)
}

// Bad input is refused whichever way it comes, with the path of what is wrong, and nothing is stored.
func TestBadInputOnCreate(t *testing.T) {
	s := together(t)
	var manifests []map[string]any
	for _, input := range badInputs {
		if !input.updateOnly {
			manifests = append(manifests, input.bad(s, input.name))
		}
	}
	clientSide := s.run(list(manifests...), "apply", "-f", "-")
	serverSide := s.run(list(manifests...), "apply", "--server-side", "-f", "-")
	for _, input := range badInputs {
		if input.updateOnly {
			continue
		}
		s.refusedByKubectl("apply", clientSide.Stderr, input)
		s.refusedByKubectl("apply --server-side", serverSide.Stderr, input)
		s.refusedRaw("POST", input, s.Sluice.SluiceV1alpha1().RESTClient().Post().Namespace(s.namespace).Resource("rollouts").
			SetHeader("Content-Type", "application/json").Body([]byte(encode(input.bad(s, input.name)))).Do(s.ctx()).Error())
	}
	stored, err := s.rollouts().List(s.ctx(), metav1.ListOptions{})
	s.must(err)
	for i := range stored.Items {
		t.Errorf("stored though it was refused: %s", stored.Items[i].Name)
	}
}

// The same holds when a valid Rollout is made invalid: it stays as it was.
func TestBadInputOnUpdate(t *testing.T) {
	s := together(t)
	var good, bad []map[string]any
	for _, input := range badInputs {
		good = append(good, manifest(newRollout(input.name, 0, weight(20), pause())))
		bad = append(bad, input.bad(s, input.name))
	}
	s.must(s.run(list(good...), "apply", "-f", "-").Err())
	clientSide := s.run(list(bad...), "apply", "-f", "-")
	serverSide := s.run(list(bad...), "apply", "--server-side", "--force-conflicts", "-f", "-")
	client := s.Sluice.SluiceV1alpha1().RESTClient()
	for i, input := range badInputs {
		if input.merged != "apply" {
			s.refusedByKubectl("apply", clientSide.Stderr, input)
		}
		if input.merged != "apply --server-side" {
			s.refusedByKubectl("apply --server-side", serverSide.Stderr, input)
		}
		s.refusedRaw("PUT", input, client.Put().Namespace(s.namespace).Resource("rollouts").Name(input.name).
			SetHeader("Content-Type", "application/json").Body([]byte(encode(bad[i]))).Do(s.ctx()).Error())
		s.refusedRaw("PATCH", input, client.Patch(types.MergePatchType).Namespace(s.namespace).Resource("rollouts").Name(input.name).
			Body([]byte(input.patch)).Do(s.ctx()).Error())
		if after := s.get(input.name); input.merged == "" && after.Generation != 1 {
			t.Errorf("%s: stored though it was refused: generation %d", input.name, after.Generation)
		}
	}
}

// refusedByKubectl looks for the refusal among those that kubectl prints for a file of many manifests. What
// cannot even be read is refused without the name of the Rollout; then the field alone has to do.
func (s *scenario) refusedByKubectl(how, printed string, input badInput) {
	s.Helper()
	for _, message := range strings.Split(printed, "\nError from server") {
		named := strings.Contains(message, `"`+input.name+`"`) || strings.Contains(message, "/"+input.name+";")
		if strings.Contains(message, input.says) && (named || strings.Contains(message, "cannot be handled as a Rollout")) {
			return
		}
	}
	s.Errorf("%s: kubectl %s does not say %q of it", input.name, how, input.says)
}

// refusedRaw checks the answer to a client that sets no fieldValidation.
func (s *scenario) refusedRaw(how string, input badInput, err error) {
	s.Helper()
	status := statusOf(err)
	if status == nil || status.Code < 400 || status.Code >= 500 || !strings.Contains(status.Message, input.says) {
		s.Errorf("%s by %s is not refused with %q: %v %+v", input.name, how, input.says, err, status)
	}
}

// 0 passes at once and is no mistake, and so are 0 % and 100 %.
func TestInputAtTheEdge(t *testing.T) {
	s := together(t)
	for name, patch := range map[string]string{
		"duration-0":  `{"spec":{"strategy":{"canary":{"steps":[{"pause":{"duration":0}},{"pause":{"duration":"0"}},{"pause":{"duration":"1s"}}]}}}}`,
		"weights":     `{"spec":{"strategy":{"canary":{"steps":[{"setWeight":0},{"setWeight":100}]}}}}`,
		"unavailable": `{"spec":{"strategy":{"canary":{"maxSurge":"100%","maxUnavailable":"100%"}}}}`,
		"deadline":    `{"spec":{"minReadySeconds":1,"progressDeadlineSeconds":2}}`,
	} {
		object := mergePatch(s, manifest(newRollout(name, 1)), patch)
		s.must(s.run(encode(object), "apply", "-f", "-").Err())
		s.awaitPhase(name, "Healthy")
		s.setTag(name, "two")
		s.awaitPhase(name, "Healthy")
	}
}

// Whoever asks for less strictness gets it, with a warning, as from any Kubernetes server.
func TestFieldValidationAsAsked(t *testing.T) {
	s := together(t)
	object := mergePatch(s, manifest(newRollout("lenient", 0)), `{"spec":{"replica":3}}`)
	client := s.Dynamic.Resource(rolloutsResource).Namespace(s.namespace)
	for _, asked := range []string{metav1.FieldValidationIgnore, metav1.FieldValidationWarn} {
		_, err := client.Create(s.ctx(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldValidation: asked, DryRun: []string{metav1.DryRunAll}})
		s.must(err)
	}
	_, err := client.Create(s.ctx(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	s.refused(err, http.StatusBadRequest, "spec.replica")
	s.contains(s.run(encode(object), "create", "--validate=warn", "--dry-run=server", "-f", "-").Stderr, "spec.replica")
}

// A body above the limit is refused before it is read, garbage after; neither harms the server.
func TestBodiesThatCannotBeRead(t *testing.T) {
	s := together(t)
	client := s.Sluice.SluiceV1alpha1().RESTClient()
	post := func(contentType string, body []byte) error {
		return client.Post().Namespace(s.namespace).Resource("rollouts").SetHeader("Content-Type", contentType).Body(body).Do(s.ctx()).Error()
	}
	large := newRollout("large", 0)
	large.Annotations = map[string]string{"padding": strings.Repeat("a", 4<<20)}
	if err := post("application/json", []byte(encode(manifest(large)))); !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("a body of 4 MiB is answered with %v", err)
	}
	for name, body := range map[string][]byte{
		"protobuf without its prefix":  []byte("garbage"),
		"garbage behind the prefix":    []byte("k8s\x00garbage"),
		"an envelope that is cut off":  {'k', '8', 's', 0, 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"an envelope of nothing known": append([]byte("k8s\x00"), 0x0a, 0x06, 0x0a, 0x01, 'v', 0x12, 0x01, 'K', 0x12, 0x02, 0xff, 0xff),
		"nothing":                      {},
	} {
		status := s.refused(post("application/vnd.kubernetes.protobuf", body), http.StatusBadRequest)
		if status.Message == "" {
			t.Errorf("%s: no message", name)
		}
	}
	s.refused(post("application/json", []byte(`{"apiVersion":"sluice.dev/v1alpha1","kind":"Rollout","spec":`)), http.StatusBadRequest)
	s.refused(post("text/plain", []byte(`{}`)), http.StatusUnsupportedMediaType)
	s.deploy(newRollout("after", 1))
}
