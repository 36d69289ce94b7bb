// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// AddService makes a Service that selects the pods of the Rollout, or makes it anew, managed by nobody.
func (c *Cluster) AddService(name string) {
	c.RemoveService(name)
	c.serial++
	c.services = append(c.services, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.Rollout.Namespace, UID: types.UID("service-" + strconv.Itoa(c.serial)), ResourceVersion: c.nextVersion()},
		Spec:       corev1.ServiceSpec{Selector: maps.Clone(c.Rollout.Spec.Selector.MatchLabels)},
	})
	c.tell("Service %s is made", name)
}

// RemoveService deletes a Service, if there is one of that name.
func (c *Cluster) RemoveService(name string) {
	c.services = slices.DeleteFunc(slices.Clone(c.services), func(s *corev1.Service) bool { return s.Name == name })
}

// GiveService puts a Service into the hands of another Rollout, as the annotation says.
func (c *Cluster) GiveService(name, manager string) {
	for i, service := range c.services {
		if service.Name == name {
			out := service.DeepCopy()
			metav1.SetMetaDataAnnotation(&out.ObjectMeta, rollouts.ManagedByRolloutAnnotation, manager)
			out.ResourceVersion = c.nextVersion()
			c.services[i] = out
		}
	}
}

// Service is the Service of that name; nil if there is none.
func (c *Cluster) Service(name string) *corev1.Service {
	for _, service := range c.services {
		if service.Name == name {
			return service
		}
	}
	return nil
}

// LeadsTo is the hash of the revision that a Service leads to; empty if there is no such Service, or it leads to
// whatever matches.
func (c *Cluster) LeadsTo(name string) string {
	if service := c.Service(name); service != nil {
		return service.Spec.Selector[rollouts.PodTemplateHashLabel]
	}
	return ""
}

// lead writes a change of a Service.
func (c *Cluster) lead(change engine.ServiceChange) error {
	i := slices.IndexFunc(c.services, func(s *corev1.Service) bool {
		return s.Name == change.Name && s.UID == change.UID && s.ResourceVersion == change.ResourceVersion
	})
	if i < 0 {
		return fmt.Errorf("service %s: %w", change.Name, ErrConflict)
	}
	before, out := c.services[i], c.services[i].DeepCopy()
	if change.Hash == "" {
		delete(out.Spec.Selector, rollouts.PodTemplateHashLabel)
	} else {
		out.Spec.Selector[rollouts.PodTemplateHashLabel] = change.Hash
	}
	if change.ManagedBy == "" {
		delete(out.Annotations, rollouts.ManagedByRolloutAnnotation)
	} else {
		metav1.SetMetaDataAnnotation(&out.ObjectMeta, rollouts.ManagedByRolloutAnnotation, change.ManagedBy)
	}
	out.ResourceVersion = c.nextVersion()
	c.services[i] = out
	c.Written.Services++
	c.tell("Service %s leads to %q", out.Name, change.Hash)
	if c.OnLead != nil {
		c.OnLead(before, out)
	}
	return nil
}

// label writes a change of the metadata of a pod, if it is still there.
func (c *Cluster) label(change engine.PodChange) {
	for _, rs := range c.sets {
		for _, p := range c.pods[rs.UID] {
			if p.uid() == change.UID {
				p.Labels, p.Annotations = changed(p.Labels, change.SetLabels, change.RemoveLabels), changed(p.Annotations, change.SetAnnotations, change.RemoveAnnotations)
				c.Written.Pods++
				c.tell("label %s of %s", change.Name, rs.Name)
				return
			}
		}
	}
}

// changed is a copy of was with some keys set and others removed.
func changed(was, set map[string]string, remove []string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, was)
	for _, key := range remove {
		delete(out, key)
	}
	maps.Copy(out, set)
	return out
}
