// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"sluice.dev/sluice/pkg/generated/clientset/versioned"
)

// modulePath is the first line of go.mod by which the source tree is recognised.
const modulePath = "module sluice.dev/sluice\n"

// HostVariable is the environment variable that names the minor version of Kubernetes which the host is to have, unless
// the options do; without it, it is the newest that the launcher knows.
const HostVariable = "SLUICE_HOST"

// Options say which control plane is meant, and how it is to be.
type Options struct {
	// Dir is its folder; empty for that of "make up", _local in the source tree.
	Dir string
	// SharedEtcd gives Sluice an etcd of its own process, so that a second server can be started.
	SharedEtcd bool
	// Real gives it a real node with containers, and Sluice as a pod on it; it needs Linux and root.
	Real bool
	// Host is the minor version of Kubernetes that the host is to have, as "1.34"; empty for what HostVariable names.
	Host string
	// HostOnly leaves Sluice out, for tests that run it themselves.
	HostOnly bool
	// Progress is where the launcher tells what it does.
	Progress io.Writer
}

// Cluster is a control plane that runs, with clients of its administrator.
type Cluster struct {
	// Config is how the administrator reaches it. It has no throttle.
	Config *rest.Config
	// Host is the client of what Kubernetes serves itself, Sluice that of the group sluice.dev, Dynamic
	// that of whatever has no client of its own here.
	Host    kubernetes.Interface
	Sluice  versioned.Interface
	Dynamic dynamic.Interface

	launcher launcher
}

// Repository is the root of the source tree that contains the working folder.
func Repository() (string, error) {
	working, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := working; ; dir = filepath.Dir(dir) {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if strings.HasPrefix(string(content), modulePath) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside the source tree of Sluice", working)
		}
	}
}

// Up builds what is missing and starts the control plane.
func Up(ctx context.Context, options Options) (*Cluster, error) {
	l, err := newLauncher(ctx, options)
	if err != nil {
		return nil, err
	}
	args := []string{"up"}
	if l.host != "" {
		args = append(args, "--host="+l.host)
	}
	if options.SharedEtcd {
		args = append(args, "--sluice-etcd=external")
	}
	if options.Real {
		args = append(args, "--real")
	}
	if options.HostOnly {
		args = append(args, "--no-sluice")
	}
	if err := l.run(ctx, args...); err != nil {
		return nil, err
	}
	return l.connect()
}

// Attach takes a control plane that runs already. It returns nil if there is none in the folder, or if it
// is not up.
func Attach(ctx context.Context, options Options) (*Cluster, error) {
	l, err := newLauncher(ctx, options)
	if err != nil {
		return nil, err
	}
	state, err := l.state()
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !state.Up {
		return nil, nil
	}
	if l.host != "" && l.host != state.Host {
		return nil, fmt.Errorf("the control plane in %s is Kubernetes %s, and %s is asked for; stop it first: %s", l.dir, state.Host, l.host, l.command("down"))
	}
	if err := l.quiet().run(ctx, "status"); err != nil {
		return nil, fmt.Errorf("%w\nStop it first: %s", err, l.command("down"))
	}
	return l.connect()
}

// Down stops the control plane. Its data stays in its folder.
func (c *Cluster) Down(ctx context.Context) error { return c.launcher.run(ctx, "down") }

// DownCommand is what a person types to stop it.
func (c *Cluster) DownCommand() string { return c.launcher.command("down") }

// Dir is the folder of the control plane.
func (c *Cluster) Dir() string { return c.launcher.dir }

// Repository is the source tree that it was built from.
func (c *Cluster) Repository() string { return c.launcher.repository }

// ModuleSource is the folder of the source of a module, at the version that a module of this repository pins in pins, its
// folder below the root.
func (c *Cluster) ModuleSource(ctx context.Context, pins, module string) (string, error) {
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		var complained bytes.Buffer
		cmd.Dir, cmd.Stderr = filepath.Join(c.Repository(), pins), &complained
		output, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, complained.String())
		}
		return strings.TrimSpace(string(output)), nil
	}
	if _, err := run("mod", "download", module); err != nil {
		return "", err
	}
	return run("list", "-m", "-f", "{{.Dir}}", module)
}

// Start starts one component, with further arguments for this run, and waits until it is ready.
func (c *Cluster) Start(ctx context.Context, name string, args ...string) error {
	return c.launcher.run(ctx, append([]string{"start", name, "--"}, args...)...)
}

// Launch starts one component and does not wait: for one that is not to become ready.
func (c *Cluster) Launch(ctx context.Context, name string, args ...string) error {
	return c.launcher.run(ctx, append([]string{"start", "--wait=false", name, "--"}, args...)...)
}

// Stop ends one component with SIGTERM and waits until it is gone.
func (c *Cluster) Stop(ctx context.Context, name string) error {
	return c.launcher.run(ctx, "stop", name)
}

// Kill ends one component with SIGKILL.
func (c *Cluster) Kill(ctx context.Context, name string) error {
	return c.launcher.run(ctx, "stop", "--signal=KILL", name)
}

// Component is what the launcher knows of a component at this moment.
func (c *Cluster) Component(name string) (Component, error) {
	state, err := c.launcher.state()
	if err != nil {
		return Component{}, err
	}
	return state.find(name)
}

// launcher is the command localcluster on one folder.
type launcher struct {
	repository, dir, binDir string
	// host is the version of the host that is asked for, if any.
	host string
	// kubectl is that of the version of the host, once it runs.
	kubectl  string
	progress io.Writer
}

// newLauncher builds the launcher, which builds everything else.
func newLauncher(ctx context.Context, options Options) (launcher, error) {
	repository, err := Repository()
	if err != nil {
		return launcher{}, err
	}
	l := launcher{repository: repository, dir: options.Dir, binDir: filepath.Join(repository, "_local", "bin"),
		host: cmp.Or(options.Host, os.Getenv(HostVariable)), progress: options.Progress}
	if l.dir == "" {
		l.dir = filepath.Join(repository, "_local")
	}
	if l.progress == nil {
		l.progress = io.Discard
	}
	build := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(repository, "hack", "localcluster"), "-buildvcs=false", "-o", l.path(), "./cmd/localcluster")
	if output, err := build.CombinedOutput(); err != nil {
		return launcher{}, fmt.Errorf("cannot build the launcher: %w\n%s", err, output)
	}
	return l, nil
}

func (l launcher) path() string { return filepath.Join(l.binDir, "localcluster") }

func (l launcher) quiet() launcher {
	l.progress = io.Discard
	return l
}

func (l launcher) command(name string) string {
	if l.dir == filepath.Join(l.repository, "_local") {
		return "make " + name
	}
	return l.path() + " " + name + " --dir " + l.dir
}

// run runs one command of the launcher. Its error contains what the launcher said.
func (l launcher) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, l.path(), append([]string{"--repository=" + l.repository, "--dir=" + l.dir}, args...)...)
	var said, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, io.MultiWriter(&complained, l.progress)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("localcluster %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(said.String()+complained.String()))
	}
	return nil
}

func (l launcher) state() (*state, error) {
	content, err := os.ReadFile(filepath.Join(l.dir, "run", "state.json"))
	if err != nil {
		return nil, err
	}
	s := &state{}
	return s, json.Unmarshal(content, s)
}

func (l launcher) connect() (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(l.dir, "kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	s, err := l.state()
	if err != nil {
		return nil, err
	}
	l.kubectl = s.Kubectl
	return l.with(config)
}

func (l launcher) with(config *rest.Config) (c *Cluster, err error) {
	c = &Cluster{Config: config, launcher: l}
	if c.Host, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.Sluice, err = versioned.NewForConfig(config); err != nil {
		return nil, err
	}
	c.Dynamic, err = dynamic.NewForConfig(config)
	return c, err
}

// As is the same control plane as another user sees it, by impersonation.
func (c *Cluster) As(user string, groups ...string) (*Cluster, error) {
	config := rest.CopyConfig(c.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return c.launcher.with(config)
}
