// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// fieldTypes describe Rollouts to whoever reckons the owners of fields, as the generic server describes them to
// itself: by the OpenAPI schema that is served.
func fieldTypes(config *common.OpenAPIV3Config) (managedfields.TypeConverter, error) {
	definitions, err := builder3.BuildOpenAPIDefinitionsForResources(config, util.GetCanonicalTypeName(&v1alpha1.Rollout{}))
	if err != nil {
		return nil, fmt.Errorf("the OpenAPI schema of Rollouts: %w", err)
	}
	return managedfields.NewTypeConverter(definitions, false)
}
