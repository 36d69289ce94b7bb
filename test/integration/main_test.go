// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/cmd/server"
	"sluice.dev/sluice/pkg/generated/clientset/versioned"
	"sluice.dev/sluice/test/cluster"
)

// host is the cluster that the servers of all tests belong to.
var host *cluster.Cluster

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) != "" {
		serveAlone()
	}
	flag.Parse()
	if testing.Short() {
		fmt.Fprintln(os.Stderr, "the integration tests start a control plane, which is not done with -short")
		os.Exit(0)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, m)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(ctx context.Context, m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "sluice-integration-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if host, err = cluster.Up(ctx, cluster.Options{Dir: dir, HostOnly: true, Progress: os.Stderr}); err != nil {
		return 1, err
	}
	// The tests do not end by themselves when they are interrupted.
	defer context.AfterFunc(ctx, func() {
		_ = host.Down(context.WithoutCancel(ctx))
		os.RemoveAll(dir)
		os.Exit(1)
	})()
	defer func() {
		if downErr := host.Down(context.WithoutCancel(ctx)); err == nil {
			err = downErr
		}
	}()
	return m.Run(), nil
}

// instance is a server in this process.
type instance struct {
	config *rest.Config
	client versioned.Interface
	// address is where the server listens.
	address string
	// stop ends the server and waits for it; it may be called twice.
	stop func()
}

// newNamespace is for the records of one store: a server with another would rightly be refused there.
func newNamespace(t *testing.T) string {
	t.Helper()
	created, err := host.Host.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "integration-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created.Name
}

// start runs a server on a data directory, with its records in a namespace, until the test ends.
func start(t *testing.T, namespace, dataDir string, adjust ...func(*server.Options)) *instance {
	t.Helper()
	s := launch(t, namespace, dataDir, adjust...)
	s.connect(t, namespace, s.address)
	return s
}

// launch is start without waiting for the server.
func launch(t *testing.T, namespace, dataDir string, adjust ...func(*server.Options)) *instance {
	t.Helper()
	forgetReplicaSets(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	options := newOptions(namespace, dataDir)
	options.Recommended.SecureServing.Listener = listener
	options.Recommended.SecureServing.BindAddress = net.IPv4(127, 0, 0, 1)
	options.Recommended.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port
	for _, a := range adjust {
		a(options)
	}
	options.Complete()
	if err := options.Validate(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- options.Run(ctx) }()
	running := true
	s := &instance{address: listener.Addr().String(), stop: func() {
		cancel()
		if !running {
			return
		}
		running = false
		if err := <-ended; err != nil {
			t.Errorf("the server ended with an error: %v", err)
		}
	}}
	t.Cleanup(s.stop)
	return s
}

// forgetReplicaSets deletes at the end of the test what it leaves: the next server has a store of its own, and would
// rightly miss the owners.
func forgetReplicaSets(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		everything := metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}
		if err := host.Host.AppsV1().ReplicaSets(metav1.NamespaceDefault).DeleteCollection(context.WithoutCancel(t.Context()), everything, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func newOptions(namespace, dataDir string) *server.Options {
	options := server.NewOptions()
	options.Recommended.CoreAPI.CoreAPIKubeconfigPath = filepath.Join(host.Dir(), "kubeconfig")
	options.DataDir = dataDir
	options.Namespace = namespace
	// The output is that of the tests.
	options.Recommended.Audit.LogOptions.Path = ""
	return options
}

// connect makes an administrator's client of the server, and waits until that is ready.
func (s *instance) connect(t *testing.T, namespace, address string) {
	t.Helper()
	s.config = &rest.Config{Host: "https://" + address, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf}}
	s.config.TLSClientConfig = *host.Config.TLSClientConfig.DeepCopy()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		secret, err := host.Host.CoreV1().Secrets(namespace).Get(ctx, server.ServingSecretName, metav1.GetOptions{})
		if err != nil {
			return false, nil
		}
		s.config.CAData, s.config.CAFile = secret.Data["ca.crt"], ""
		if s.client, err = versioned.NewForConfig(s.config); err != nil {
			return false, err
		}
		_, err = s.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("the server did not get ready: %v", err)
	}
}
