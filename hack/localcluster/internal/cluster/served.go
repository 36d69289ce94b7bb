// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/client-go/discovery"
)

const (
	// groupVersion is what Sluice serves, apiService the object that registers it.
	groupVersion = "sluice.dev/v1alpha1"
	apiService   = "v1alpha1.sluice.dev"
)

// missing says what keeps the group from being served; empty if nothing does.
func (h *host) missing(ctx context.Context) string {
	if text := h.unavailable(ctx); text != "" {
		return text
	}
	_, lists, err := h.client.Discovery().ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return err.Error()
	}
	found := false
	for _, list := range lists {
		found = found || list.GroupVersion == groupVersion && len(list.APIResources) > 0
	}
	if !found {
		return "discovery does not list " + groupVersion
	}
	paths, err := h.client.Discovery().RESTClient().Get().AbsPath("/openapi/v3").DoRaw(ctx)
	if err != nil {
		return err.Error()
	}
	if !strings.Contains(string(paths), `"apis/`+groupVersion+`"`) {
		return "the OpenAPI document does not list " + groupVersion
	}
	return ""
}

// unavailable says why the APIService is not Available; empty if it is. The few fields are read by
// hand: the client of that API group is not worth its dependencies.
func (h *host) unavailable(ctx context.Context) string {
	raw, err := h.client.Discovery().RESTClient().Get().AbsPath("/apis/apiregistration.k8s.io/v1/apiservices", apiService).DoRaw(ctx)
	if err != nil {
		return err.Error()
	}
	var object struct {
		Status struct {
			Conditions []struct{ Type, Status, Reason, Message string }
		}
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return err.Error()
	}
	for _, condition := range object.Status.Conditions {
		if condition.Type == "Available" && condition.Status == "True" {
			return ""
		}
		if condition.Type == "Available" {
			return fmt.Sprintf("not Available: %s: %s", condition.Reason, condition.Message)
		}
	}
	return "not judged yet"
}
