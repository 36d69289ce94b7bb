// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package build has the go command bring the binaries of the control plane up to date. What is up to
// date already costs a fraction of a second; a first build takes minutes, so it tells how far it is.
// It imports only the standard library and the progress package.
package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sluice.dev/sluice/hack/localcluster/internal/progress"
)

// kubernetesVersion is the version of k8s.io/kubernetes in go.mod. Without it clients refuse the
// version that the API server tells them.
const kubernetesVersion = "v1.37.2"

// kubernetesFlags are the linker flags of the multi-call binary kube.
const kubernetesFlags = "-s -w -X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
	" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37" +
	" -X k8s.io/component-base/version.gitTreeState=clean"

// developmentVersion is what our binaries call themselves when there is no tag to go by.
const developmentVersion = "v0.1.0-dev"

// shownAfter is how long a build may take without a line about it staying on the screen.
const shownAfter = time.Second

// Binary is a program to build.
type Binary struct {
	// Name is the name of its file.
	Name string
	// Module is the folder of its module below the repository, Package its path in there.
	Module, Package string
	// Flags are its linker flags, Tags its build tags.
	Flags, Tags string
	// Pinned is true if it is made of nothing but what its module pins: it is built once for each go.sum.
	Pinned bool
	// Static builds it without cgo, so that it needs nothing but a kernel.
	Static bool
	// Arch is the architecture of a binary for an image, for Linux on whatever machine, as Go names it; empty for a
	// binary that runs here. The same source and the same Go make the same such binary, in any folder.
	Arch string
	// Calls are further names under which the program is called and then acts as another one.
	Calls []string
	// Title names it to a person.
	Title string
	// First warns of how long the first build takes; empty if it is nothing to speak of.
	First string
}

// Host are the binaries of the host cluster, and the launcher itself.
func Host() []Binary {
	return []Binary{
		{Name: "kube", Module: "hack/localcluster", Package: "./cmd/kube", Flags: kubernetesFlags,
			Calls: []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "etcd", "kwok", "kubelet", "kube-proxy"},
			Title: "Kubernetes, etcd and kwok", First: "The first build of Kubernetes, etcd and kwok takes about ten minutes on two cores; later ones take a second."},
		{Name: "localcluster", Module: "hack/localcluster", Package: "./cmd/localcluster", Title: "localcluster"},
	}
}

// Sluice are our own binaries, at the version that git describes, or a development version.
func Sluice(ctx context.Context, repository string) []Binary {
	flags := "-X sluice.dev/sluice/pkg/version.Version=" + Version(ctx, repository)
	return []Binary{
		{Name: "sluice-apiserver", Module: ".", Package: "./cmd/apiserver", Flags: flags, Title: "sluice-apiserver"},
		// By the second name kubectl asks a plugin to complete its command line.
		{Name: "kubectl-sluice", Module: ".", Package: "./cmd/kubectl-sluice", Flags: flags,
			Calls: []string{"kubectl_complete-sluice"}, Title: "kubectl-sluice"},
	}
}

// Version is what git describes the source as, or a development version.
func Version(ctx context.Context, repository string) string {
	output, err := exec.CommandContext(ctx, "git", "-C", repository, "describe", "--tags", "--match", "v[0-9]*").Output()
	if err != nil {
		return developmentVersion // no git, no repository or no tag
	}
	return strings.TrimSpace(string(output))
}

// Builder puts binaries into a folder.
type Builder struct {
	// Repository is the root of the source tree, Dir the folder of the binaries.
	Repository, Dir string
	// Reporter shows the progress.
	Reporter *progress.Reporter
}

// Build brings the binaries up to date, one after another: the go command uses every core by itself,
// and two of them at once would compile what they share twice.
func (b *Builder) Build(ctx context.Context, binaries []Binary) error {
	scratch := b.scratch()
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	unlock, err := b.lock(filepath.Join(scratch, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	for _, binary := range binaries {
		if err := b.build(ctx, binary, scratch); err != nil {
			return fmt.Errorf("cannot build %s: %w", binary.Name, err)
		}
	}
	return nil
}

// scratch is the folder of what a build needs besides the binaries.
func (b *Builder) scratch() string { return filepath.Join(b.Dir, ".build") }

// lock keeps two launchers from writing the same files.
func (b *Builder) lock(path string) (unlock func() error, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	task := b.Reporter.Begin("waiting for another build into " + b.Dir)
	defer task.Done("")
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil
}

func (b *Builder) build(ctx context.Context, binary Binary, scratch string) error {
	started := time.Now()
	pins := ""
	if binary.Pinned {
		var err error
		if pins, err = b.pins(binary); err != nil {
			return err
		}
		if b.built(binary, scratch, pins) {
			return link(b.Dir, binary)
		}
	}
	if _, err := os.Stat(filepath.Join(b.Dir, binary.Name)); binary.First != "" && errors.Is(err, os.ErrNotExist) {
		b.Reporter.Printf("%s", binary.First)
	}
	task := b.Reporter.Begin("building " + binary.Title)
	result := ""
	defer func() { task.Done(result) }()

	cmd := exec.CommandContext(ctx, "go", binary.arguments(b.Dir)...)
	cmd.Dir = filepath.Join(b.Repository, binary.Module)
	// On the same file system the finished binary is renamed into place, so that a control plane that
	// still runs the old one is not disturbed.
	cmd.Env = append(append(os.Environ(), "GOTMPDIR="+scratch), binary.environment()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	output, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w; Go must be installed and in PATH", err)
	}
	complaints := watch(output, task.Detail)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w\n%s", err, strings.Join(complaints, "\n"))
	}
	if time.Since(started) > shownAfter {
		result = "built " + binary.Title
	}
	return errors.Join(link(b.Dir, binary), b.note(binary, scratch, pins))
}

// arguments are those of the go command that puts the binary into the folder.
func (b Binary) arguments(dir string) []string {
	args := []string{"build", "-v", "-buildvcs=false", "-tags", b.Tags, "-ldflags", b.Flags, "-o", filepath.Join(dir, b.Name)}
	if b.Arch != "" {
		args = append(args, "-trimpath")
	}
	return append(args, b.Package)
}

// environment is what the go command must not take from the machine.
func (b Binary) environment() []string {
	env := []string{"GOWORK=off"}
	if b.Static {
		env = append(env, "CGO_ENABLED=0")
	}
	if b.Arch != "" {
		env = append(env, "GOOS=linux", "GOARCH="+b.Arch, "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off")
	}
	return env
}

// watch reads what go build -v says, tells how far it is, and returns what is neither a package nor a
// download: the errors.
func watch(output io.Reader, detail func(string)) []string {
	var complaints []string
	packages := 0
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "go: downloading "):
			detail("downloading " + strings.TrimPrefix(line, "go: downloading "))
		case len(complaints) == 0 && isPackage(line):
			packages++
			detail(fmt.Sprintf("%d packages, %s", packages, line))
		default:
			complaints = append(complaints, line)
		}
	}
	return complaints
}

// isPackage tells an import path, as go build -v prints it, from a message.
func isPackage(line string) bool {
	return line != "" && !strings.ContainsAny(line, " \t:#")
}

func link(dir string, binary Binary) error {
	for _, call := range binary.Calls {
		path := filepath.Join(dir, call)
		if target, err := os.Readlink(path); err == nil && target == binary.Name {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(binary.Name, path); err != nil {
			return err
		}
	}
	return nil
}
