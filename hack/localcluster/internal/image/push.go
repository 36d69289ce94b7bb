// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sluice.dev/sluice/hack/localcluster/internal/sbom"
)

// Push pushes the image under its names, with the bill of materials of each architecture as a referrer of that, as
// who is logged in by the configuration of Docker or Podman. It returns the digest of the image.
func (i Image) Push(ctx context.Context) (digest v1.Hash, err error) {
	index, err := i.index()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("image %s: %w", i.Names[0], err)
	}
	if digest, err = index.Digest(); err != nil {
		return v1.Hash{}, err
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	for _, text := range i.Names {
		reference, err := name.ParseReference(text)
		if err != nil {
			return v1.Hash{}, err
		}
		if err := remote.WriteIndex(reference, index, options...); err != nil {
			return v1.Hash{}, err
		}
		if err := i.attachBills(reference.Context(), index, options); err != nil {
			return v1.Hash{}, fmt.Errorf("bill of materials of %s: %w", text, err)
		}
	}
	return digest, nil
}

// attachBills pushes the bills of materials. Nobody needs names for them: a registry, or a tag that is made of the
// digest where it knows no referrers, lists them for the image.
func (i Image) attachBills(repository name.Repository, index v1.ImageIndex, options []remote.Option) error {
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, built := range manifest.Manifests {
		bill, err := i.Bill(built.Platform.Architecture)
		if err != nil {
			return err
		}
		attached, err := attachment(built, sbom.MediaType, bill)
		if err != nil {
			return err
		}
		digest, err := attached.Digest()
		if err != nil {
			return err
		}
		if err := remote.Write(repository.Digest(digest.String()), attached, options...); err != nil {
			return err
		}
	}
	return nil
}

// emptyConfig is what a manifest has that describes no image, by the specification of OCI.
const (
	emptyConfig     = "{}"
	emptyConfigType = types.MediaType("application/vnd.oci.empty.v1+json")
)

// referrer is a manifest that refers to another one, and has one file.
type referrer struct {
	manifest []byte
	layer    v1.Layer
}

// attachment is a file of that type for an image.
func attachment(subject v1.Descriptor, kind string, content []byte) (v1.Image, error) {
	layer := static.NewLayer(content, types.MediaType(kind))
	described, err := partial.Descriptor(layer)
	if err != nil {
		return nil, err
	}
	config, size, err := v1.SHA256(bytes.NewReader([]byte(emptyConfig)))
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  kind,
		Config:        v1.Descriptor{MediaType: emptyConfigType, Size: size, Digest: config},
		Layers:        []v1.Descriptor{*described},
		Subject:       &v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest},
	})
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(referrer{manifest: manifest, layer: layer})
}

// MediaType is that of any manifest.
func (r referrer) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// RawManifest is the manifest.
func (r referrer) RawManifest() ([]byte, error) { return r.manifest, nil }

// RawConfigFile is that of no image.
func (r referrer) RawConfigFile() ([]byte, error) { return []byte(emptyConfig), nil }

// LayerByDigest is the file, or the configuration.
func (r referrer) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	own, err := r.layer.Digest()
	if err != nil {
		return nil, err
	}
	if digest == own {
		return r.layer, nil
	}
	config := static.NewLayer([]byte(emptyConfig), emptyConfigType)
	if of, err := config.Digest(); err != nil || of != digest {
		return nil, fmt.Errorf("there is nothing with the digest %s", digest)
	}
	return config, nil
}
