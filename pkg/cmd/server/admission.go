// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	mutatingadmissionpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingadmissionpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/discovery"
)

// policyResources are what the policy plugins watch in the host. On a host that does not serve one, the
// plugin's informer would never sync, and the server would never be ready.
var policyResources = map[string]string{
	validatingadmissionpolicy.PluginName: "validatingadmissionpolicies",
	mutatingadmissionpolicy.PluginName:   "mutatingadmissionpolicies",
}

// unservedPlugins returns the admission plugins whose resources the host does not serve.
func unservedPlugins(host discovery.DiscoveryInterface) ([]string, error) {
	list, err := host.ServerResourcesForGroupVersion(admissionregistrationv1.SchemeGroupVersion.String())
	if err != nil {
		return nil, err
	}
	served := map[string]bool{}
	for i := range list.APIResources {
		served[list.APIResources[i].Name] = true
	}
	var unserved []string
	for plugin, resource := range policyResources {
		if !served[resource] {
			unserved = append(unserved, plugin)
		}
	}
	return unserved, nil
}
