#!/usr/bin/env bash
# Copyright The Sluice Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Fails if what is generated is not what the generators make of pkg/apis now. Works on a copy: the tree is
# never changed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R "$root/go.mod" "$root/go.sum" "$root/hack" "$copy/"
mkdir "$copy/pkg"
cp -R "$root/pkg/apis" "$root/pkg/generated" "$root/pkg/engine" "$copy/pkg/"

"$root/hack/update-codegen.sh" "$copy"

stale=0
for tree in pkg/apis pkg/generated; do
  diff -Naur "$root/$tree" "$copy/$tree" || stale=1
done
if [ "$stale" -ne 0 ]; then
  echo "Generated code is stale: run make generate and commit the result." >&2
  exit 1
fi
echo "Generated code is up to date."
