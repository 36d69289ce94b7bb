// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/fake"

	"sluice.dev/sluice/pkg/apiserver/ownerguard"
	"sluice.dev/sluice/pkg/cmd/server/member"
)

// childMember, if set in the environment, makes the test binary one member of an ensemble: it is the ensemble, in
// JSON, and childIndex which member.
const (
	childMember = "SLUICE_TEST_MEMBER"
	childIndex  = "SLUICE_TEST_MEMBER_INDEX"
)

// ensemble is what the members of a cluster, each a process of its own, have in common.
type ensemble struct {
	// Root holds the data directories, and the records of the host as files.
	Root string
	// Port is the one for clients, the next one that for peers; each member has an address of its own.
	Port, Size int
	Authority  map[string][]byte
	Lifetimes  member.Lifetimes
	// AcceptQuorumLoss is the index of the member that does; -1 for none.
	AcceptQuorumLoss int
	AcceptDataLoss   bool

	running map[int]*exec.Cmd
}

func newEnsemble(t *testing.T, size int) *ensemble {
	t.Helper()
	// A short path, so that the sockets are in the data directories.
	root, err := os.MkdirTemp("", "sluice-members-")
	if err != nil {
		t.Fatal(err)
	}
	e := &ensemble{Root: root, Port: freePorts(t, size), Size: size, AcceptQuorumLoss: -1, Lifetimes: member.DefaultLifetimes, running: map[int]*exec.Cmd{}}
	secrets := fake.NewClientset().CoreV1().Secrets(DefaultNamespace)
	certificate := member.NewCertificate(member.CertificateConfig{Secrets: secrets, Dir: filepath.Join(root, "stranger"), Name: "stranger", Host: "127.0.0.1", Lifetimes: e.Lifetimes})
	if err := certificate.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret, err := secrets.Get(t.Context(), member.AuthoritySecretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.Authority = secret.Data
	t.Cleanup(func() {
		for i := range e.Size {
			e.kill(i)
		}
		if t.Failed() {
			for i := range e.Size {
				log, _ := os.ReadFile(e.log(i))
				t.Logf("member %d:\n%s", i, log)
			}
		}
		os.RemoveAll(root)
	})
	return e
}

// freePorts returns a port that is free, as is the next one, at the addresses of all members.
func freePorts(t *testing.T, size int) int {
	t.Helper()
	for range 100 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		first.Close()
		free := true
		for i := range size {
			for _, p := range []int{port, port + 1} {
				l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address(i), p))
				if errors.Is(err, syscall.EADDRNOTAVAIL) {
					t.Skipf("this machine has no address %s, as Linux has by itself: %v", address(i), err)
				}
				if err != nil {
					free = false
					continue
				}
				l.Close()
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

func address(i int) string               { return fmt.Sprintf("127.0.0.%d", i+1) }
func memberName(i int) string            { return fmt.Sprintf("m%d", i) }
func (e *ensemble) dir(i int) string     { return filepath.Join(e.Root, memberName(i)) }
func (e *ensemble) log(i int) string     { return filepath.Join(e.Root, memberName(i)+".log") }
func (e *ensemble) file(n string) string { return filepath.Join(e.Root, n) }
func (e *ensemble) socket(i int) []string {
	return []string{"unix://" + filepath.Join(e.dir(i), "etcd.sock")}
}

func (e *ensemble) endpoint(i int) member.Endpoint {
	return member.Endpoint{Name: memberName(i), PeerURL: memberURL(address(i), e.Port+1), ClientURL: memberURL(address(i), e.Port)}
}

// The records of the host, as files.

func (e *ensemble) read(name string) (string, error) {
	text, err := os.ReadFile(e.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

func (e *ensemble) Identity(context.Context) (string, error) { return e.read("identity") }
func (e *ensemble) Founder(context.Context) (string, error)  { return e.read("founder") }

func (e *ensemble) Claim(_ context.Context, name string) error {
	mine := e.file("founder." + name)
	if err := os.WriteFile(mine, []byte(name), 0o600); err != nil {
		return err
	}
	if err := os.Link(mine, e.file("founder")); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// certificate is that of a member, by the authority of all.
func (e *ensemble) certificate(i int) *member.Certificate {
	secrets := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: member.AuthoritySecretName, Namespace: DefaultNamespace}, Data: e.Authority}).CoreV1().Secrets(DefaultNamespace)
	config := member.CertificateConfig{Secrets: secrets, Dir: filepath.Join(e.dir(i), "tls"), Name: memberName(i), Host: address(i), Lifetimes: e.Lifetimes, Recheck: time.Second}
	for k := range e.Size {
		config.Names = append(config.Names, memberName(k))
	}
	return member.NewCertificate(config)
}

func (e *ensemble) config(i int, certificate *member.Certificate) MemberConfig {
	peers := &member.Peers{Self: e.endpoint(i), TLS: certificate.TLS(), RecordRoot: ownerguard.DefaultRoot}
	for k := range e.Size {
		if k != i {
			peers.Others = append(peers.Others, e.endpoint(k))
		}
	}
	return MemberConfig{DataDir: e.dir(i), QuotaBytes: DefaultEtcdQuotaBytes, Peers: peers, BindAddress: net.ParseIP(address(i)), Records: e, AcceptDataLoss: e.AcceptDataLoss, AcceptQuorumLoss: e.AcceptQuorumLoss == i}
}

// beMember is the life of a child: it joins, records the identity of the store as the owner guard would, and stays.
func beMember(text, index string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	e := &ensemble{}
	if err := json.Unmarshal([]byte(text), e); err != nil {
		fail(err)
	}
	i, err := strconv.Atoi(index)
	if err != nil {
		fail(err)
	}
	ctx := context.Background()
	certificate := e.certificate(i)
	if err := certificate.Renew(ctx); err != nil {
		fail(err)
	}
	go certificate.Run(ctx)
	etcd, err := StartEtcdMember(ctx, e.config(i, certificate))
	if err != nil {
		fail(err)
	}
	if err := e.recordIdentity(ctx, i); err != nil {
		fail(err)
	}
	fmt.Fprintln(os.Stderr, "ready")
	fail(<-etcd.Err())
}

func (e *ensemble) recordIdentity(ctx context.Context, i int) error {
	client, err := ownerguard.Dial(ownerguard.Endpoints{ServerList: e.socket(i)})
	if err != nil {
		return err
	}
	defer client.Close()
	key := ownerguard.DefaultRoot + "/identity"
	value := fmt.Sprintf(`{"identity":"of-%s","revision":1}`, memberName(i))
	if _, err := client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(clientv3.OpPut(key, value)).Commit(); err != nil {
		return err
	}
	identity, err := ownerguard.NewStore(client, ownerguard.DefaultRoot).Identity(ctx)
	if err != nil {
		return err
	}
	if have, err := e.Identity(ctx); err != nil || have == identity {
		return err
	} else if have != "" {
		return fmt.Errorf("this is store %s, and the host knows %s", identity, have)
	}
	return os.WriteFile(e.file("identity"), []byte(identity), 0o600)
}

// start starts a member, which does not wait for others.
func (e *ensemble) start(t *testing.T, i int) {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(e.log(i), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childMember+"="+string(text), childIndex+"="+strconv.Itoa(i))
	child.Stderr = log
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	e.running[i] = child
}

// kill ends a member with SIGKILL, if it runs.
func (e *ensemble) kill(i int) {
	if child := e.running[i]; child != nil {
		_ = child.Process.Kill()
		_ = child.Wait()
		delete(e.running, i)
	}
}

// wipe empties the disk of a member.
func (e *ensemble) wipe(t *testing.T, i int) {
	t.Helper()
	if err := os.RemoveAll(e.dir(i)); err != nil {
		t.Fatal(err)
	}
}

// says waits until a member has logged the words.
func (e *ensemble) says(t *testing.T, i int, words string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 90*time.Second, true, func(context.Context) (bool, error) {
		log, err := os.ReadFile(e.log(i))
		return strings.Contains(string(log), words), err
	})
	if err != nil {
		t.Fatalf("member %d does not say %q: %v", i, words, err)
	}
}

func (e *ensemble) ready(t *testing.T, members ...int) {
	t.Helper()
	for _, i := range members {
		e.says(t, i, "ready\n")
	}
}

// client is a client of one member, by its socket.
func (e *ensemble) client(t *testing.T, i int) *clientv3.Client {
	t.Helper()
	client, err := ownerguard.Dial(ownerguard.Endpoints{ServerList: e.socket(i)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// put writes a key by way of a member, as soon as there is a leader.
func (e *ensemble) put(t *testing.T, i int, key string) {
	t.Helper()
	client := e.client(t, i)
	await(t, func(ctx context.Context) error {
		_, err := client.Put(ctx, key, "v")
		return err
	})
}

// tryTimeout bounds one try of what is awaited. Raft drops a change of the membership while the leader has not applied the
// one before, and then etcd answers no more; so it is to be asked again, as member.Peers does.
const tryTimeout = 5 * time.Second

// await repeats what etcd refuses, or drops, for a while after a member has come or gone.
func await(t *testing.T, do func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		bounded, cancel := context.WithTimeout(ctx, tryTimeout)
		defer cancel()
		last = do(bounded)
		return last == nil, nil
	})
	if err != nil {
		t.Fatal(last)
	}
}

// has fails unless every member has the key, by a read that needs a quorum.
func (e *ensemble) has(t *testing.T, key string, members ...int) {
	t.Helper()
	for _, i := range members {
		if resp, err := e.client(t, i).Get(t.Context(), key); err != nil || resp.Count != 1 {
			t.Errorf("member %d does not have %s: %v, %v", i, key, resp, err)
		}
	}
}

// voters waits until the cluster has so many members, all of which are voters, and returns its number and theirs.
func (e *ensemble) voters(t *testing.T, by, count int) (cluster uint64, ids map[string]uint64) {
	t.Helper()
	client := e.client(t, by)
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		list, err := client.MemberList(ctx)
		if err != nil {
			return false, nil
		}
		cluster, ids = list.Header.ClusterId, map[string]uint64{}
		for _, m := range list.Members {
			if m.IsLearner || m.Name == "" {
				return false, nil
			}
			ids[m.Name] = m.ID
		}
		return len(ids) == count, nil
	})
	if err != nil {
		t.Fatalf("want %d voters, have %v: %v", count, ids, err)
	}
	return cluster, ids
}
