// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/generated/clientset/versioned/scheme"
)

// standardInput is the name of a file that is none.
const standardInput = "-"

// readManifest finds a Rollout in a file of manifests: that of the name, or the only one if the name is
// empty. What has no such field is an error, as it would be if it were applied.
func (p *plugin) readManifest(file, name string) (*v1alpha1.Rollout, error) {
	in, closeFile, err := p.open(file)
	if err != nil {
		return nil, err
	}
	defer closeFile()
	all, err := rolloutsIn(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	if name == "" {
		switch len(all) {
		case 0:
			return nil, fmt.Errorf("%s: there is no Rollout of %s in it", file, v1alpha1.SchemeGroupVersion)
		case 1:
			return all[0], nil
		}
		return nil, fmt.Errorf("%s: there is more than one Rollout in it: give the NAME of one of %s", file, strings.Join(names, ", "))
	}
	at := slices.Index(names, name)
	switch {
	case at >= 0:
		return all[at], nil
	case len(all) == 0:
		return nil, fmt.Errorf("%s: there is no Rollout of %s in it", file, v1alpha1.SchemeGroupVersion)
	}
	return nil, fmt.Errorf("%s: there is no Rollout %q in it, but %s", file, name, strings.Join(names, ", "))
}

func (p *plugin) open(file string) (io.Reader, func(), error) {
	if file == standardInput {
		return p.In, func() {}, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil
}

// rolloutsIn are the Rollouts among the documents, in YAML or JSON. Those of other kinds are passed over.
func rolloutsIn(in io.Reader) ([]*v1alpha1.Rollout, error) {
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := utilyaml.NewYAMLReader(bufio.NewReader(in))
	var all []*v1alpha1.Rollout
	for number := 1; ; number++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		found, err := rolloutIn(document, strict)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", number, err)
		}
		if found != nil {
			all = append(all, found)
		}
	}
}

// rolloutIn is the Rollout that a document is; nil if it is something else.
func rolloutIn(document []byte, strict runtime.Decoder) (*v1alpha1.Rollout, error) {
	if len(bytes.TrimSpace(document)) == 0 {
		return nil, nil
	}
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return nil, err
	}
	if schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind) != v1alpha1.SchemeGroupVersion.WithKind("Rollout") {
		return nil, nil
	}
	r := &v1alpha1.Rollout{}
	if _, _, err := strict.Decode(document, nil, r); err != nil {
		return nil, err
	}
	if r.Name == "" {
		return nil, errors.New("metadata.name of the Rollout must not be empty")
	}
	return r, nil
}
