// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// allContainers stands for every container in CONTAINER=IMAGE.
const allContainers = "*"

// imageBackoff is how a change is tried again when the Rollout has changed since it was read. During an
// update its status does so several times a second.
var imageBackoff = wait.Backoff{Steps: 12, Duration: 10 * time.Millisecond, Factor: 2, Jitter: 0.5, Cap: time.Second}

// imageChange is one CONTAINER=IMAGE.
type imageChange struct{ container, image string }

func (p *plugin) setCommand() *cobra.Command {
	image := &cobra.Command{
		Use:   "image NAME CONTAINER=IMAGE...",
		Short: "Change images, which starts an update",
		Long: `Change the images of containers, which starts an update of the Rollout.

CONTAINER is the name of a container or of an init container, or * for all of
them. Of several changes of the same container the last one holds. A change that
somebody else makes at the same time is never lost.`,
		Example: `  # Start an update to another version
  kubectl sluice set image demo app=registry.example/app:v2

  # Two containers in one update
  kubectl sluice set image demo app=registry.example/app:v2 proxy=registry.example/proxy:v7`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("NAME and at least one CONTAINER=IMAGE are required")
			}
			if _, err := rolloutName(args[0]); err != nil {
				return err
			}
			_, err := parseImages(args[1:])
			return err
		},
		ValidArgsFunction: p.completeContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := rolloutName(args[0])
			changes, _ := parseImages(args[1:])
			return p.setImage(cmd.Context(), name, changes)
		},
	}
	return group("set", "Change a Rollout", image)
}

func parseImages(args []string) ([]imageChange, error) {
	var changes []imageChange
	for _, arg := range args {
		container, image, ok := strings.Cut(arg, "=")
		if !ok || container == "" || image == "" {
			return nil, fmt.Errorf("%q is not of the form CONTAINER=IMAGE", arg)
		}
		changes = append(changes, imageChange{container, image})
	}
	return changes, nil
}

func (p *plugin) setImage(ctx context.Context, name string, changes []imageChange) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	rollouts, done := c.sluice.SluiceV1alpha1().Rollouts(c.namespace), "image updated"
	err = retry.RetryOnConflict(imageBackoff, func() error {
		r, err := rollouts.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		patch, err := imagePatch(r, changes)
		if err != nil {
			return err
		}
		if patch == nil {
			done = "image unchanged"
			return nil
		}
		_, err = rollouts.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.Out, "%s %s\n", printed(name), done)
	return err
}

// imagePatch is a strategic merge patch with nothing in it but the images that change and the
// resourceVersion that they were read at; nil if none changes.
func imagePatch(r *v1alpha1.Rollout, changes []imageChange) ([]byte, error) {
	if ref := r.Spec.WorkloadRef; ref != nil {
		return nil, fmt.Errorf("the template of %s is that of Deployment %q: kubectl set image deployment/%s CONTAINER=IMAGE -n %s", printed(r.Name), ref.Name, ref.Name, r.Namespace)
	}
	pod := &r.Spec.Template.Spec
	containers, initContainers := images(pod.Containers), images(pod.InitContainers)
	wanted := maps.Clone(containers)
	maps.Copy(wanted, initContainers)
	for _, change := range changes {
		if change.container == allContainers {
			for name := range wanted {
				wanted[name] = change.image
			}
			continue
		}
		if _, there := wanted[change.container]; !there {
			return nil, fmt.Errorf("unable to find container named %q in %s: there is %s",
				change.container, printed(r.Name), strings.Join(slices.Sorted(maps.Keys(wanted)), ", "))
		}
		wanted[change.container] = change.image
	}
	spec := map[string]any{}
	if changed := changedImages(pod.Containers, wanted); len(changed) > 0 {
		spec["containers"] = changed
	}
	if changed := changedImages(pod.InitContainers, wanted); len(changed) > 0 {
		spec["initContainers"] = changed
	}
	if len(spec) == 0 {
		return nil, nil
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": r.UID, "resourceVersion": r.ResourceVersion},
		"spec":     map[string]any{"template": map[string]any{"spec": spec}},
	})
}

// images are the images of containers by name.
func images(containers []corev1.Container) map[string]string {
	result := map[string]string{}
	for i := range containers {
		result[containers[i].Name] = containers[i].Image
	}
	return result
}

func changedImages(containers []corev1.Container, wanted map[string]string) []map[string]string {
	var changed []map[string]string
	for i := range containers {
		if c := &containers[i]; c.Image != wanted[c.Name] {
			changed = append(changed, map[string]string{"name": c.Name, "image": wanted[c.Name]})
		}
	}
	return changed
}
