// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func layout(mode SluiceMode) Layout {
	l := Layout{Dir: "/srv/plane", BinDir: "/srv/bin", Repository: "/srv/source", Mode: mode, Ports: map[string]int{}}
	for i, name := range l.PortNames() {
		l.Ports[name] = 20001 + i
	}
	return l
}

func names(components []Component) []string {
	var all []string
	for _, c := range components {
		all = append(all, c.Name)
	}
	return all
}

func TestComponentsOfEachMode(t *testing.T) {
	for _, row := range []struct {
		mode SluiceMode
		want []string
	}{
		{NoSluice, []string{Etcd, KubeAPIServer, ControllerManager, Scheduler, Kwok}},
		{EmbeddedEtcd, []string{Etcd, KubeAPIServer, Sluice, ControllerManager, Scheduler, Kwok}},
		{ExternalEtcd, []string{Etcd, KubeAPIServer, SluiceEtcd, Sluice, SluiceReplica, SluiceBalancer, ControllerManager, Scheduler, Kwok}},
	} {
		if got := names(layout(row.mode).Components()); !slices.Equal(got, row.want) {
			t.Errorf("%s: components are %q; want %q", row.mode, got, row.want)
		}
	}
}

// An older host is made of its own programs and keeps a store of its own; all else is what it is with the newest.
func TestOlderHost(t *testing.T) {
	older := layout(EmbeddedEtcd)
	older.Host, older.HostDir = "1.34", "hosts/1.34"
	newest := layout(EmbeddedEtcd).Components()
	for i, c := range older.Components() {
		want := newest[i].Path
		if slices.Contains([]string{KubeAPIServer, ControllerManager, Scheduler}, c.Name) {
			want = "/srv/bin/hosts/1.34/" + c.Name
		}
		if c.Path != want {
			t.Errorf("%s is %s; want %s", c.Name, c.Path, want)
		}
		if c.DataDir != "" && c.DataDir != "/srv/plane/data/hosts/1.34/"+c.Name {
			t.Errorf("%s keeps its data in %s, beside that of a newer host", c.Name, c.DataDir)
		}
	}
	if got := older.HostBinary("kubectl"); got != "/srv/bin/hosts/1.34/kubectl" {
		t.Errorf("kubectl is %s", got)
	}
}

func TestArguments(t *testing.T) {
	for _, row := range []struct {
		rule string
		mode SluiceMode
		name string
		has  []string
		not  []string
	}{
		{"the host's etcd may lose what it wrote: it is a test's", NoSluice, Etcd,
			[]string{"--unsafe-no-fsync", "--client-cert-auth", "--peer-client-cert-auth", "--data-dir=/srv/plane/data/etcd"}, nil},
		{"Sluice's etcd may not", ExternalEtcd, SluiceEtcd,
			[]string{"--name=sluice-etcd", "--client-cert-auth", "--data-dir=/srv/plane/data/sluice-etcd"}, []string{"--unsafe-no-fsync"}},
		{"the host aggregates", NoSluice, KubeAPIServer,
			[]string{"--requestheader-client-ca-file=/srv/plane/pki/front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy-client",
				"--proxy-client-cert-file=/srv/plane/pki/front-proxy-client.crt", "--endpoint-reconciler-type=none"},
			[]string{"--enable-aggregator-routing"}},
		{"the host checks who may set owner references", NoSluice, KubeAPIServer,
			[]string{"--enable-admission-plugins=OwnerReferencesPermissionEnforcement", "--authorization-mode=RBAC"}, nil},
		{"the host notes what Sluice asks it for", EmbeddedEtcd, KubeAPIServer,
			[]string{"--audit-policy-file=/srv/plane/config/kube-apiserver-audit.yaml", "--audit-log-path=/srv/plane/log/kube-apiserver-audit.log"}, nil},
		{"controllers have their own identities and no throttle", NoSluice, ControllerManager,
			[]string{"--use-service-account-credentials", "--leader-elect=false", "--kube-api-qps=5000"}, nil},
		{"kwok plays annotated nodes only", NoSluice, Kwok,
			[]string{"--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"}, nil},
		{"Sluice reaches the host as its ServiceAccount, keeps its data itself, and logs by its own policy", EmbeddedEtcd, Sluice,
			[]string{"--kubeconfig=/srv/plane/pki/sluice-apiserver.kubeconfig", "--namespace=sluice-system", "--service-name=sluice-apiserver",
				"--data-dir=/srv/plane/data/sluice-apiserver", "--audit-log-path=/srv/plane/log/sluice-apiserver-audit.log"},
			[]string{"--etcd-servers", "--audit-policy-file"}},
		{"with an external etcd it has no data folder", ExternalEtcd, Sluice,
			[]string{"--etcd-cafile=/srv/plane/pki/etcd-ca.crt", "--etcd-certfile=/srv/plane/pki/etcd-client.crt"}, []string{"--data-dir"}},
		{"the second replica has its own audit log", ExternalEtcd, SluiceReplica,
			[]string{"--audit-log-path=/srv/plane/log/sluice-apiserver-2-audit.log"}, []string{"--data-dir"}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			c, err := layout(row.mode).Component(row.name)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range row.has {
				if !slices.Contains(c.Args, want) {
					t.Errorf("%s lacks %s: %q", row.name, want, c.Args)
				}
			}
			for _, unwanted := range row.not {
				if slices.ContainsFunc(c.Args, func(arg string) bool { return strings.HasPrefix(arg, unwanted) }) {
					t.Errorf("%s has %s", row.name, unwanted)
				}
			}
		})
	}
}

func TestEverythingListensOnLoopback(t *testing.T) {
	l := layout(ExternalEtcd)
	seen := map[int]string{}
	for _, c := range l.Components() {
		if !strings.Contains(c.URL, "://127.0.0.1:") || !strings.Contains(c.Health, "://127.0.0.1:") {
			t.Errorf("%s is at %s, its health at %s", c.Name, c.URL, c.Health)
		}
		for _, port := range c.PortNames {
			if other := seen[l.Ports[port]]; other != "" {
				t.Errorf("%s and %s share a port", port, other)
			}
			seen[l.Ports[port]] = port
		}
		for _, arg := range c.Args {
			if strings.HasPrefix(arg, "--bind-address=") && arg != "--bind-address=127.0.0.1" || strings.Contains(arg, "0.0.0.0") {
				t.Errorf("%s listens to the world: %s", c.Name, arg)
			}
		}
	}
}

func TestUnknownComponent(t *testing.T) {
	if _, err := layout(NoSluice).Component(Sluice); err == nil {
		t.Error("a component that this mode does not have was found")
	}
}

func TestFiles(t *testing.T) {
	for _, row := range []struct {
		rule, file string
		mode       SluiceMode
		has        []string
	}{
		{"the scheduler has no throttle", schedulerFile, NoSluice, []string{`kubeconfig: "/srv/plane/pki/kube-scheduler.kubeconfig"`, "qps: 5000"}},
		{"of the others nothing is noted", auditFile, EmbeddedEtcd, []string{`users: ["system:serviceaccount:sluice-system:sluice-apiserver"]`, "- level: None"}},
		{"kwok has stages for nodes and pods", kwokFile, NoSluice, []string{"name: node-initialize", "name: node-heartbeat-with-lease", "name: pod-ready", "name: pod-delete"}},
		{"the Service leads to the server on this machine", "artifacts/kustomization.yaml", EmbeddedEtcd, []string{"- ../artifacts/base", "type: ExternalName", "externalName: localhost", "port: 20005", "value: 20005"}},
		{"with replicas it leads to the balancer", "artifacts/kustomization.yaml", ExternalEtcd, []string{"port: 20010", "value: 20010"}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			l := layout(row.mode)
			content := l.Files("../artifacts")[row.file]
			for _, want := range row.has {
				if !strings.Contains(content, want) {
					t.Errorf("%s lacks %q (ports %v):\n%s", row.file, want, l.Ports, content)
				}
			}
		})
	}
	if _, exists := layout(NoSluice).Files("../artifacts")["artifacts/kustomization.yaml"]; exists {
		t.Error("without Sluice nothing is applied")
	}
}

func TestCertificates(t *testing.T) {
	hosts, groups := map[string][]string{}, map[string][]string{}
	for authority, leaves := range Certificates() {
		for _, leaf := range leaves {
			hosts[authority+"/"+leaf.Name], groups[leaf.Name] = leaf.Hosts, leaf.Groups
		}
	}
	for _, row := range []struct {
		certificate string
		hosts       []string
	}{
		{"ca/apiserver", []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "10.96.0.1", "10.77.0.1", "localhost", "127.0.0.1", "::1"}},
		{"etcd-ca/etcd", []string{"localhost", "127.0.0.1", "::1"}},
		{"etcd-ca/etcd-client", nil},
		{"front-proxy-ca/front-proxy-client", nil},
		{"ca/admin", nil},
		{"ca/kube-scheduler", nil},
	} {
		got, exists := hosts[row.certificate]
		if !exists || !slices.Equal(got, row.hosts) {
			t.Errorf("%s: exists %v, valid for %q; want %q", row.certificate, exists, got, row.hosts)
		}
	}
	if _, exists := groups[Sluice]; exists {
		t.Error("Sluice has a client certificate: it must have the rights of its ServiceAccount only")
	}
	if !slices.Contains(Users(), Admin) || len(groups[Scheduler]) != 0 {
		t.Errorf("users are %q, groups of the scheduler %q", Users(), groups[Scheduler])
	}
}

func TestFoldersStayInside(t *testing.T) {
	l := layout(EmbeddedEtcd)
	for _, folder := range l.Folders() {
		if filepath.Dir(folder) != l.Dir {
			t.Errorf("%s is not in %s: purging would delete it", folder, l.Dir)
		}
	}
}
