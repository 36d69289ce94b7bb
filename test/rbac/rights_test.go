// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const repository = "../.."

// Whichever right is taken away, or never used, the suite fails.
func TestEveryRightIsHeld(t *testing.T) {
	for _, roles := range []Roles{Alone, Members} {
		granted, err := roles.granted(repository)
		if err != nil || len(granted) == 0 {
			t.Fatalf("%v have the rights %v, %v", roles.Files, granted, err)
		}
		used := map[Right]bool{}
		for _, r := range granted {
			used[r] = roles.Elsewhere[r] == ""
		}
		if err := roles.compare(granted, used, nil); err != nil {
			t.Errorf("all is as it should be, and that is %v", err)
		}
		for i, r := range granted {
			left := slices.Delete(slices.Clone(granted), i, i+1)
			var forbidden []string
			if used[r] {
				forbidden = []string{r.String()}
			}
			wants(t, roles.compare(left, used, forbidden), "right to "+r.String(), "not allowed to "+r.String())
			if used[r] && r.Verb != "list" {
				used[r] = false
				wants(t, roles.compare(granted, used, nil), "nothing needs the right to "+r.String())
				used[r] = true
			}
		}
	}
}

// What a host does not have needs no right there.
func TestWhatAnOlderHostLacks(t *testing.T) {
	host := fake.NewClientset()
	host.Resources = []*metav1.APIResourceList{{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{{Name: "replicasets"}}}}
	scale := Right{"patch", "apps", "replicasets/scale", ""}
	there, err := onHost(host.Discovery(), []Right{{"list", "admissionregistration.k8s.io", "mutatingadmissionpolicies", ""}, scale, {"list", "", "replicasets", ""}})
	if err != nil || !slices.Equal(there, []Right{scale}) {
		t.Errorf("got %v, %v", there, err)
	}
}

func wants(t *testing.T, err error, any ...string) {
	t.Helper()
	if err == nil || !slices.ContainsFunc(any, func(text string) bool { return strings.Contains(err.Error(), text) }) {
		t.Errorf("got %v, want %q", err, any)
	}
}

func TestWhatTheHostHasNoted(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	lines := `{"verb":"update","objectRef":{"resource":"leases","apiGroup":"coordination.k8s.io","name":"sluice-controller"},"responseStatus":{"code":409}}
{"verb":"patch","objectRef":{"resource":"replicasets","subresource":"scale","apiGroup":"apps","name":"x"},"responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"forbid"}}
{"verb":"create","objectRef":{"resource":"pods"},"responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"allow"}}
{"verb":"get","responseStatus":{"code":200}}
{"verb":"create","objectRef":{"resource":"secr`
	if err := os.WriteFile(log, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	used, forbidden, err := requested([]string{log})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Right{
		{"update", "coordination.k8s.io", "leases", ""}, {"update", "coordination.k8s.io", "leases", "sluice-controller"}, {"create", "", "pods", ""},
	} {
		if !used[r] {
			t.Errorf("%s was used", r)
		}
	}
	if len(used) != 3 || !slices.Equal(forbidden, []string{"patch replicasets/scale.apps x"}) {
		t.Errorf("got %v, forbidden %v", used, forbidden)
	}
}
