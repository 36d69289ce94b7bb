// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// events are the events in the log so far. The last line may not be whole yet, and is left out then.
func (l auditLog) events(s *scenario) []auditv1.Event {
	s.Helper()
	content, err := os.ReadFile(l.path)
	s.must(err)
	var events []auditv1.Event
	for line := range strings.Lines(string(content[min(l.offset, int64(len(content))):])) {
		var event auditv1.Event
		if json.Unmarshal([]byte(line), &event) == nil {
			events = append(events, event)
		}
	}
	return events
}

// await waits for an event.
func (l auditLog) await(s *scenario, what string, is func(*auditv1.Event) bool) *auditv1.Event {
	s.Helper()
	var found *auditv1.Event
	s.eventually("an audit event: "+what, func(context.Context) bool {
		events := l.events(s)
		if i := slices.IndexFunc(events, func(e auditv1.Event) bool { return is(&e) }); i >= 0 {
			found = &events[i]
		}
		return found != nil
	})
	return found
}

// A verb is in the audit log of the server under the ID that its action has, with what was asked and what was
// answered, whichever way it was called.
func TestVerbsInTheAuditLog(t *testing.T) {
	s := together(t)
	log := s.auditLog()
	r := s.pausedUpdate("audited")
	alma := s.user("alma", "sluice-releaser")
	s.oncePermitted(func() error { return alma.dry(http.MethodPost, r.Name, "promote", "{}").err })
	for i, method := range writingMethods {
		why := "because of " + method
		got := alma.call(method, r.Name, "promote", `{"reason":"`+why+`"}`)
		s.must(got.err)
		action := got.verb.Status.Action
		actions := s.get(r.Name).Status.Actions
		if action == nil || action.AuditID == "" || actions[len(actions)-1].AuditID != action.AuditID {
			t.Fatalf("%s: the action is %+v, those that are stored are %+v", method, action, actions)
		}
		event := log.await(s, action.AuditID, func(e *auditv1.Event) bool { return string(e.AuditID) == action.AuditID })
		ref := event.ObjectRef
		if event.Level != auditv1.LevelRequestResponse || event.Stage != auditv1.StageResponseComplete || event.User.Username != "alma" ||
			event.Verb != rbacVerbs[method] || ref.Resource != "rollouts" || ref.Subresource != "promote" || ref.Name != r.Name || ref.Namespace != s.namespace {
			t.Errorf("%s: the event is %+v about %+v", method, event, ref)
		}
		var asked, answered v1alpha1.Promotion
		s.must(json.Unmarshal(event.RequestObject.Raw, &asked))
		s.must(json.Unmarshal(event.ResponseObject.Raw, &answered))
		if asked.Reason != why || answered.Status.Action == nil || answered.Status.Action.User != "alma" || answered.Status.Action.Reason != why {
			t.Errorf("%s: asked %s, answered %s", method, event.RequestObject.Raw, event.ResponseObject.Raw)
		}
		if i < len(writingMethods)-1 {
			s.atPause(r.Name, int32(i)+2)
		}
	}
	// What was refused is there as well, with the answer.
	s.refused(alma.call(http.MethodPost, r.Name, "retry", `{"reason":"by mistake"}`).err, http.StatusConflict)
	event := log.await(s, "the refused retry", func(e *auditv1.Event) bool {
		return e.User.Username == "alma" && e.ObjectRef.Subresource == "retry" && e.ResponseStatus.Code == http.StatusConflict
	})
	s.contains(string(event.RequestObject.Raw), "by mistake")
	s.contains(string(event.ResponseObject.Raw), "NotAborted")
}

// Every other write is logged without its body, and the controller's own writes of status not at all.
func TestOtherWritesInTheAuditLog(t *testing.T) {
	s := together(t)
	log := s.auditLog()
	r := s.deploy(newRollout("quiet", 1))
	created := log.await(s, "the creation", func(e *auditv1.Event) bool {
		return e.Verb == "create" && e.ObjectRef != nil && e.ObjectRef.Namespace == s.namespace && e.ObjectRef.Resource == "rollouts"
	})
	if created.Level != auditv1.LevelMetadata || created.RequestObject != nil || created.ResponseObject != nil {
		t.Errorf("the creation of a Rollout is logged as %s, with %v and %v", created.Level, created.RequestObject, created.ResponseObject)
	}
	// Somebody else who writes status is told on.
	_, err := s.patch(r.Name, `{"status":{"message":"all is well"}}`, "status")
	s.must(err)
	log.await(s, "a write of status", func(e *auditv1.Event) bool {
		return e.Verb == "patch" && e.ObjectRef != nil && e.ObjectRef.Namespace == s.namespace && e.ObjectRef.Subresource == "status"
	})
	for _, e := range log.events(s) {
		if e.User.Username == user.APIServerUser && (e.ObjectRef == nil || e.ObjectRef.Subresource == "status" || e.Verb == "watch") {
			t.Errorf("the server logs its own %s of %+v", e.Verb, e.ObjectRef)
		}
	}
}
