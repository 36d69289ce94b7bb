// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sbom lists what a Go binary was built from, as a bill of materials in the format CycloneDX: what the linker
// noted in the binary itself, which is what is in there, rather than what a go.mod would allow. It imports the
// library of the format only.
package sbom

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// MediaType is that of a bill in JSON.
const MediaType = "application/vnd.cyclonedx+json"

// Bill says of what a bill is.
type Bill struct {
	// Binary is the path of the binary.
	Binary string
	// Version is that of its main module, which Go does not know when it builds from a source tree.
	Version string
	// Beside are modules of which something is shipped beside the binary.
	Beside []*debug.Module
}

// JSON writes the bill. It has no time and no serial number, so that the same binary has the same bill.
func (b Bill) JSON() ([]byte, error) {
	info, err := buildinfo.ReadFile(b.Binary)
	if err != nil {
		return nil, err
	}
	main := component(&debug.Module{Path: info.Main.Path, Version: b.Version}, cyclonedx.ComponentTypeApplication)
	main.Properties = properties(info)
	components := []cyclonedx.Component{component(&debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}, cyclonedx.ComponentTypeLibrary)}
	for _, m := range append(slices.Clone(info.Deps), b.Beside...) {
		if m.Replace != nil {
			m = m.Replace
		}
		components = append(components, component(m, cyclonedx.ComponentTypeLibrary))
	}
	slices.SortFunc(components, func(a, b cyclonedx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	components = slices.CompactFunc(components, func(a, b cyclonedx.Component) bool { return a.BOMRef == b.BOMRef })
	needs := make([]string, 0, len(components))
	for _, c := range components {
		needs = append(needs, c.BOMRef)
	}
	bill := cyclonedx.NewBOM()
	bill.Metadata = &cyclonedx.Metadata{Component: &main}
	bill.Components = &components
	bill.Dependencies = &[]cyclonedx.Dependency{{Ref: main.BOMRef, Dependencies: &needs}}
	var text bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&text, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bill); err != nil {
		return nil, fmt.Errorf("bill of materials of %s: %w", b.Binary, err)
	}
	return text.Bytes(), nil
}

// component is a module. Its hash is that which go.sum has: of all its files, not of an archive.
func component(m *debug.Module, kind cyclonedx.ComponentType) cyclonedx.Component {
	purl := "pkg:golang/" + m.Path + "@" + m.Version
	c := cyclonedx.Component{Type: kind, BOMRef: purl, PackageURL: purl, Name: m.Path, Version: m.Version}
	if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) > 0 {
		c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
	}
	return c
}

// properties are how the binary was built.
func properties(info *debug.BuildInfo) *[]cyclonedx.Property {
	all := []cyclonedx.Property{{Name: "sluice:go:package", Value: info.Path}}
	for _, s := range info.Settings {
		all = append(all, cyclonedx.Property{Name: "sluice:go:setting:" + s.Key, Value: s.Value})
	}
	return &all
}
