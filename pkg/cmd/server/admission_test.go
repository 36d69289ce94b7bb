// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mutatingadmissionpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	fakediscovery "k8s.io/client-go/discovery/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestPluginsWhosePoliciesTheHostDoesNotServeAreLeftOut(t *testing.T) {
	host := &fakediscovery.FakeDiscovery{Fake: &clienttesting.Fake{}}
	host.Resources = []*metav1.APIResourceList{{
		GroupVersion: "admissionregistration.k8s.io/v1",
		APIResources: []metav1.APIResource{{Name: "validatingadmissionpolicies"}, {Name: "validatingwebhookconfigurations"}},
	}}
	unserved, err := unservedPlugins(host)
	if err != nil {
		t.Fatal(err)
	}
	if len(unserved) != 1 || unserved[0] != mutatingadmissionpolicy.PluginName {
		t.Errorf("left out %v, want only %s, which a host before 1.36 does not serve in v1", unserved, mutatingadmissionpolicy.PluginName)
	}
}
