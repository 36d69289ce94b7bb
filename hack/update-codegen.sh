#!/usr/bin/env bash
# Copyright The Sluice Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Regenerates everything that is generated from pkg/apis: deep copies, defaults, conversions, protobuf,
# clients, listers, informers, apply configurations and OpenAPI. The generators are pinned in
# hack/tools/go.mod; protoc comes from the system (make generate installs it).
#
# With an argument, reads and writes the tree in that folder in place of this one (hack/verify-codegen.sh).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tree=$(cd "${1:-$root}" && pwd)
module=sluice.dev/sluice
bin=$root/_output/tools
mkdir -p "$bin"
(cd "$root/hack/tools" && GOBIN=$bin go install tool)
export PATH=$bin:$PATH
cd "$tree"

hub=$module/pkg/apis/rollouts
served=$hub/v1alpha1
generated=$module/pkg/generated
header=(--go-header-file "$root/hack/boilerplate.go.txt")

rm -rf pkg/generated
find pkg/apis -name 'zz_generated.*' -delete
rm -f pkg/apis/rollouts/v1alpha1/generated.p*

echo "deep copies, defaults, conversions" >&2
deepcopy-gen "${header[@]}" --output-file zz_generated.deepcopy.go "$hub" "$served"
defaulter-gen "${header[@]}" --output-file zz_generated.defaults.go "$served"
conversion-gen "${header[@]}" --output-file zz_generated.conversion.go "$served"

echo "protobuf" >&2
gopath=$(mktemp -d)
trap 'rm -rf "$gopath"' EXIT
mkdir -p "$gopath/$(dirname "$module")"
ln -s "$tree" "$gopath/$module"
dir() { go list -m -f '{{.Dir}}' "$1"; }
gogo=$(cd "$root/hack/tools" && go list -m -f '{{.Dir}}' github.com/gogo/protobuf)/gogoproto
go-to-protobuf "${header[@]}" \
  --packages "$served" \
  --apimachinery-packages "-k8s.io/apimachinery/pkg/util/intstr,-k8s.io/apimachinery/pkg/api/resource,-k8s.io/apimachinery/pkg/runtime/schema,-k8s.io/apimachinery/pkg/runtime,-k8s.io/apimachinery/pkg/apis/meta/v1,-k8s.io/api/core/v1" \
  --proto-import "github.com/gogo/protobuf/gogoproto=$gogo" \
  --proto-import "k8s.io/api=$(dir k8s.io/api)" \
  --proto-import "k8s.io/apimachinery=$(dir k8s.io/apimachinery)" \
  --proto-import "$gopath" \
  --output-dir "$gopath"

echo "OpenAPI" >&2
mkdir -p pkg/generated/openapi
openapi-gen "${header[@]}" \
  --output-dir pkg/generated/openapi --output-pkg "$generated/openapi" \
  --output-file zz_generated.openapi.go --output-model-name-file zz_generated.model_name.go \
  --report-filename pkg/generated/openapi/violations.report \
  --readonly-pkg k8s.io/api/core/v1 --readonly-pkg k8s.io/api/autoscaling/v1 \
  --readonly-pkg k8s.io/apimachinery/pkg/apis/meta/v1 --readonly-pkg k8s.io/apimachinery/pkg/api/resource \
  --readonly-pkg k8s.io/apimachinery/pkg/runtime --readonly-pkg k8s.io/apimachinery/pkg/util/intstr \
  --readonly-pkg k8s.io/apimachinery/pkg/version \
  "$served" k8s.io/api/core/v1 k8s.io/api/autoscaling/v1 \
  k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/api/resource \
  k8s.io/apimachinery/pkg/runtime k8s.io/apimachinery/pkg/util/intstr k8s.io/apimachinery/pkg/version

echo "clients, listers, informers, apply configurations" >&2
schema=$gopath/openapi.json
go run ./hack/models-schema >"$schema"
applyconfiguration-gen "${header[@]}" --openapi-schema "$schema" \
  --output-dir pkg/generated/applyconfiguration --output-pkg "$generated/applyconfiguration" "$served"
client-gen "${header[@]}" --clientset-name versioned --prefers-protobuf \
  --input-base "$module/pkg/apis" --input rollouts/v1alpha1 \
  --apply-configuration-package "$generated/applyconfiguration" \
  --output-dir pkg/generated/clientset --output-pkg "$generated/clientset"
lister-gen "${header[@]}" --output-dir pkg/generated/listers --output-pkg "$generated/listers" "$served"
informer-gen "${header[@]}" --versioned-clientset-package "$generated/clientset/versioned" \
  --listers-package "$generated/listers" \
  --output-dir pkg/generated/informers --output-pkg "$generated/informers" "$served"
