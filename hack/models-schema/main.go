// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command models-schema prints the OpenAPI v2 schema of the API as JSON, from which
// applyconfiguration-gen learns the types for server-side apply.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"sluice.dev/sluice/pkg/generated/openapi"
)

func main() {
	if err := json.NewEncoder(os.Stdout).Encode(swagger()); err != nil {
		fmt.Fprintln(os.Stderr, "models-schema:", err)
		os.Exit(1)
	}
}

func swagger() *spec.Swagger {
	ref := func(name string) spec.Ref { return spec.MustCreateRef("#/definitions/" + name) }
	definitions := openapi.GetOpenAPIDefinitions(ref)
	result := spec.Definitions{}
	for name, definition := range definitions {
		schema := definition.Schema
		if v2, ok := schema.Extensions[common.ExtensionV2Schema]; ok {
			if typed, isSchema := v2.(spec.Schema); isSchema {
				schema = typed
			}
		}
		result[name] = schema
	}
	return &spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger:     "2.0",
		Info:        &spec.Info{InfoProps: spec.InfoProps{Title: "Sluice", Version: "v1alpha1"}},
		Paths:       &spec.Paths{},
		Definitions: result,
	}}
}
