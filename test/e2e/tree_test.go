// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	sluiceclient "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/view"
)

// treeResource is the resource of trees in full.
const treeResource = "rollouttrees.sluice.dev"

func (s *scenario) trees() sluiceclient.RolloutTreeInterface {
	return s.Sluice.SluiceV1alpha1().RolloutTrees(s.namespace)
}

// drawn waits until the tree of a paused update shows its pods, and returns it.
func (s *scenario) drawn(name string, pods int) *v1alpha1.RolloutTree {
	s.Helper()
	var tree *v1alpha1.RolloutTree
	s.eventually("the tree to show the pods", func(ctx context.Context) bool {
		var err error
		tree, err = s.trees().Get(ctx, name, metav1.GetOptions{})
		s.must(err)
		ready := 0
		for _, revision := range tree.Revisions {
			for _, rs := range revision.ReplicaSets {
				for _, pod := range rs.Pods {
					if pod.Status == "Running" && pod.ReadyContainers == pod.Containers {
						ready++
					}
				}
			}
		}
		return ready == pods && tree.Rollout.AvailableReplicas == int32(pods)
	})
	return tree
}

// age is how kubectl writes one.
var age = regexp.MustCompile(`\b\d+[smhd](\d+[smh])?\b`)

// compact makes one text of cells, without ages.
func compact(line string) string {
	return strings.Join(strings.Fields(age.ReplaceAllString(line, "AGE")), " ")
}

// Stock kubectl prints a tree as several rows: the Rollout, its revisions, their ReplicaSets with their roles, and
// the pods with readiness, restarts and age.
func TestTreeRows(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("drawn")
	tree := s.drawn(r.Name, 2)
	canary, stable := tree.Revisions[0].ReplicaSets[0], tree.Revisions[1].ReplicaSets[0]
	want := []string{
		"NAME KIND STATUS READY RESTARTS AGE INFO",
		"⟳ drawn Rollout Paused 2/2 AGE step 1/6, weight 50",
		"├──# revision:2 Revision",
		"│ └──⧉ " + canary.Name + " ReplicaSet Healthy 1/1 AGE canary",
		"│ └──□ " + canary.Pods[0].Name + " Pod Running 1/1 0 AGE",
		"└──# revision:1 Revision",
		"└──⧉ " + stable.Name + " ReplicaSet Healthy 1/1 AGE stable",
		"└──□ " + stable.Pods[0].Name + " Pod Running 1/1 0 AGE",
	}
	for _, args := range [][]string{
		{"get", "rollouttree", r.Name},
		{"get", "rollouttrees", r.Name},
		{"get", treeResource},
		{"get", treeResource, "--field-selector=metadata.name=" + r.Name},
		{"get", treeResource, "-l", "no!=label"},
	} {
		var got []string
		for line := range strings.Lines(s.kubectl(args...)) {
			got = append(got, compact(line))
		}
		if !slices.Equal(got, want) {
			t.Errorf("kubectl %s prints\n%s\nwant\n%s", strings.Join(args, " "), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	s.contains(s.kubectl("get", treeResource, "-o", "wide"), "IMAGES", "MESSAGE", image("one"), image("two"), "CanaryPauseStep")
	everywhere, err := s.Kubectl(s.ctx(), "", "get", treeResource, "-A")
	s.must(err)
	s.must(everywhere.Err())
	if !strings.HasPrefix(everywhere.Stdout, "NAMESPACE ") {
		t.Errorf("-A prints no namespace:\n%s", everywhere.Stdout)
	}
	for _, row := range want[1:] {
		if !slices.ContainsFunc(strings.Split(everywhere.Stdout, "\n"), func(line string) bool { return compact(line) == s.namespace+" "+row }) {
			t.Errorf("-A does not print %q", row)
		}
	}
	s.contains(s.run("", "get", treeResource, "none").Stderr, "NotFound", treeResource, `"none"`)
	s.contains(s.kubectl("explain", treeResource+".revisions.replicaSets.pods"), "FIELDS:", "restarts", "readyContainers")
}

// The typed tree is all that the plugin draws from.
func TestTreeIsWhatThePluginDraws(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("typed")
	s.drawn(r.Name, 2)
	var tree v1alpha1.RolloutTree
	s.must(json.Unmarshal([]byte(s.kubectl("get", treeResource, r.Name, "-o", "json")), &tree))
	if tree.Kind != "RolloutTree" || tree.UID != r.UID || len(tree.Revisions) != 2 || tree.Revisions[0].ReplicaSets[0].Role != v1alpha1.TreeRoleCanary {
		t.Errorf("the tree is %+v", tree)
	}
	var got, want []string
	for line := range strings.Lines(s.kubectl("sluice", "get", "rollout", r.Name)) {
		got = append(got, compact(line))
	}
	for _, line := range view.Rollout(&tree, time.Now(), view.NoColour) {
		want = append(want, compact(line))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the plugin prints\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Trees can be read, and nothing else.
func TestTreeVerbs(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("readable", 1))
	served, err := s.Host.Discovery().ServerResourcesForGroupVersion(v1alpha1.SchemeGroupVersion.String())
	s.must(err)
	i := slices.IndexFunc(served.APIResources, func(a metav1.APIResource) bool { return a.Name == "rollouttrees" })
	if i < 0 {
		t.Fatalf("there are no rollouttrees in %+v", served.APIResources)
	}
	if found := served.APIResources[i]; !sets.New(found.Verbs...).Equal(sets.New("get", "list", "watch")) || !found.Namespaced || found.Kind != "RolloutTree" || found.SingularName != "rollouttree" {
		t.Errorf("trees are served as %+v", found)
	}
	for _, verb := range []string{"create", "update", "patch", "delete", "deletecollection"} {
		if resources := s.kubectl("api-resources", "--api-group=sluice.dev", "--verbs="+verb, "-o", "name"); strings.Contains(resources, "rollouttrees") || !strings.Contains(resources, resource) {
			t.Errorf("resources with the verb %s: %s", verb, resources)
		}
	}
	collection := "/apis/sluice.dev/v1alpha1/namespaces/" + s.namespace + "/rollouttrees"
	for _, request := range []struct{ method, path, body string }{
		{http.MethodPost, collection, "{}"},
		{http.MethodDelete, collection, ""},
		{http.MethodPut, collection + "/" + r.Name, "{}"},
		{http.MethodPatch, collection + "/" + r.Name, "{}"},
		{http.MethodDelete, collection + "/" + r.Name, ""},
	} {
		if got := s.ask(s.Config.Host, request.method, request.path, request.body); got.code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s is answered with %d: %s", request.method, request.path, got.code, got.body)
		}
	}
	if after := s.get(r.Name); after.UID != r.UID || after.DeletionTimestamp != nil {
		t.Errorf("the Rollout is not what it was: %+v", after.ObjectMeta)
	}
}

// A namespace goes away to the end while its trees are watched, and the controllers of the host, which follow
// Rollouts, never ask for trees.
func TestTreesDoNotHoldUpTheDeletionOfANamespace(t *testing.T) {
	s := together(t)
	names := sets.New("first", "second", "third")
	for name := range names {
		s.deploy(newRollout(name, 2))
	}
	log := s.auditLog()
	log.offset = 0
	// Garbage collection and quota follow Rollouts by one watch of all; trees would be followed in the same way.
	s.eventually("the host to follow Rollouts", func(context.Context) bool { return slices.Contains(log.byHost(s), "watch rollouts") })
	events, deleted := s.watchTrees(metav1.ListOptions{}), sets.New[string]()
	s.must(s.Host.CoreV1().Namespaces().Delete(s.ctx(), s.namespace, metav1.DeleteOptions{}))
	for !deleted.Equal(names) {
		if event := events.next(); event.Type == watch.Deleted {
			deleted.Insert(event.Object.(*v1alpha1.RolloutTree).Name)
		}
	}
	gone(s, s.Namespace(s.namespace))
	list, err := s.trees().List(s.ctx(), metav1.ListOptions{})
	s.must(err)
	if len(list.Items) != 0 {
		t.Errorf("trees are left: %+v", list.Items)
	}
	requests := log.byHost(s)
	if !slices.Contains(requests, "deletecollection rollouts") {
		t.Errorf("the host deletes no Rollouts: %v", requests)
	}
	for _, request := range requests {
		if strings.Contains(request, "rollouttrees") {
			t.Errorf("the host concerns itself with trees: %s", request)
		}
	}
}

// What ships for Argo CD and Velero names the trees, as discovery does, and nothing else.
func TestExclusionsOfOtherSystems(t *testing.T) {
	s := together(t)
	read := func(into any, path ...string) {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(append([]string{s.Repository(), "artifacts", "integrations"}, path...)...))
		s.must(err)
		s.must(yaml.UnmarshalStrict(content, into))
	}
	var exclusions []struct {
		APIGroups []string `json:"apiGroups"`
		Kinds     []string `json:"kinds"`
		Clusters  []string `json:"clusters"`
	}
	read(&exclusions, "argocd", "resource-exclusions.yaml")
	if len(exclusions) != 1 || !slices.Equal(exclusions[0].APIGroups, []string{"sluice.dev"}) || !slices.Equal(exclusions[0].Kinds, []string{"RolloutTree"}) || !slices.Equal(exclusions[0].Clusters, []string{"*"}) {
		t.Errorf("Argo CD is to exclude %+v", exclusions)
	}
	var schedule struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta `json:"metadata"`
		Spec            struct {
			Schedule string `json:"schedule"`
			Template struct {
				ExcludedResources []string `json:"excludedResources"`
			} `json:"template"`
		} `json:"spec"`
	}
	read(&schedule, "velero", "schedule.yaml")
	if schedule.Kind != "Schedule" || !slices.Equal(schedule.Spec.Template.ExcludedResources, []string{treeResource}) {
		t.Errorf("Velero is given %+v", schedule)
	}
	// kubectl finds a resource by the same name.
	s.kubectl("get", schedule.Spec.Template.ExcludedResources[0])
}
