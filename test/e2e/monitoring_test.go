// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// metricsReader is the ClusterRole that ships for whoever scrapes.
const metricsReader = "sluice-metrics-reader"

// read reads a file of the source tree.
func (s *scenario) read(path ...string) string {
	s.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{s.Repository()}, path...)...))
	s.must(err)
	return string(content)
}

// documentedMetrics are those of docs/metrics.md: our own, and those of the libraries.
func (s *scenario) documentedMetrics() (own, others []string) {
	s.Helper()
	for _, match := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(s.read("docs", "metrics.md"), -1) {
		if name := match[1]; strings.HasPrefix(name, "sluice_") {
			own = append(own, name)
		} else if strings.Contains(name, "_") {
			others = append(others, name)
		}
	}
	return own, others
}

// moved is a Rollout in which everything happened that there is a metric for.
func (s *scenario) moved(name string) {
	s.Helper()
	s.pausedUpdate(name)
	s.must(s.perform(name, "promote full"))
	s.awaitPhase(name, v1alpha1.RolloutPhaseHealthy)
}

// Every metric of ours is documented, and what is documented is there, with the type that it is said to have.
func TestEveryMetricIsDocumented(t *testing.T) {
	s := together(t)
	s.moved("documented")
	component, err := s.Component(cluster.Server)
	s.must(err)
	text := s.ask(component.URL, http.MethodGet, "/metrics", "").body
	kinds := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (\w+) (\w+)$`).FindAllStringSubmatch(text, -1) {
		kinds[match[1]] = match[2]
	}
	own, others := s.documentedMetrics()
	if len(own) < 10 || len(others) < 10 {
		t.Fatalf("docs/metrics.md has %q and %q", own, others)
	}
	document := s.read("docs", "metrics.md")
	for _, name := range append(slices.Clone(own), others...) {
		if kinds[name] == "" {
			t.Errorf("the server has no metric %s", name)
		} else if slices.Contains(own, name) && !strings.Contains(document, "| `"+name+"` | "+kinds[name]+" |") {
			t.Errorf("%s is a %s, which docs/metrics.md does not say", name, kinds[name])
		}
	}
	for name := range kinds {
		if strings.HasPrefix(name, "sluice_") && !slices.Contains(own, name) {
			t.Errorf("%s is not in docs/metrics.md: run make metrics", name)
		}
	}
}

// scraper is a ServiceAccount, and what /metrics answers it.
type scraper struct {
	*scenario
	name, token string
}

func (s *scenario) newScraper(name string) *scraper {
	s.Helper()
	accounts := s.Host.CoreV1().ServiceAccounts(s.namespace)
	_, err := accounts.Create(s.ctx(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	s.must(err)
	request, err := accounts.CreateToken(s.ctx(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	s.must(err)
	return &scraper{s, name, request.Status.Token}
}

// permit binds the ClusterRole that ships.
func (s *scraper) permit() {
	s.Helper()
	binding, err := s.Host.RbacV1().ClusterRoleBindings().Create(s.ctx(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-" + s.name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: metricsReader},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: s.name}},
	}, metav1.CreateOptions{})
	s.must(err)
	s.Cleanup(func() {
		if err := s.Host.RbacV1().ClusterRoleBindings().Delete(context.WithoutCancel(s.Context()), binding.Name, metav1.DeleteOptions{}); err != nil {
			s.Error(err)
		}
	})
}

func (s *scraper) code(server, token string) int {
	s.Helper()
	client, err := rest.HTTPClientFor(&rest.Config{BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	s.must(err)
	response, err := client.Get(server + "/metrics")
	s.must(err)
	s.must(response.Body.Close())
	return response.StatusCode
}

// A real Prometheus scrapes the server as a ServiceAccount with the role that ships: what the dashboard and the
// alerts ask for is there, and every expression of them finds data.
func TestPrometheusScrapesWhatDashboardAndAlertsAsk(t *testing.T) {
	s := together(t)
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("prometheus is not installed: apt-get install prometheus")
	}
	component, err := s.Component(cluster.Server)
	s.must(err)
	reader := s.newScraper("prometheus")
	if code := reader.code(component.URL, ""); code != http.StatusUnauthorized && code != http.StatusForbidden {
		t.Errorf("nobody is answered with %d", code)
	}
	if code := reader.code(component.URL, reader.token); code != http.StatusForbidden {
		t.Errorf("whoever has no right is answered with %d", code)
	}
	reader.permit()
	s.eventually("the right to read metrics", func(context.Context) bool { return reader.code(component.URL, reader.token) == http.StatusOK })

	p := s.prometheus(reader, component.URL)
	s.eventually("a scrape", func(ctx context.Context) bool { return p.finds(`up{job="sluice-apiserver"} == 1`) })
	s.moved("scraped")
	expressions := s.dashboardExpressions()
	p.rulesAreHealthy()
	for _, expression := range expressions {
		s.eventually("data for "+expression, func(context.Context) bool { return p.finds(expression) })
	}
	for _, name := range p.metricsNamed(append(expressions, s.alertExpressions()...)) {
		s.eventually("the metric "+name, func(context.Context) bool { return p.finds(fmt.Sprintf("count({__name__=%q})", name)) })
	}
}

// dashboardExpressions are those of every panel, as Grafana sends them.
func (s *scenario) dashboardExpressions() (all []string) {
	s.Helper()
	var dashboard struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	s.must(json.Unmarshal([]byte(s.read("artifacts", "monitoring", "dashboard.json")), &dashboard))
	for _, panel := range dashboard.Panels {
		if panel.Type != "row" && len(panel.Targets) == 0 {
			s.Errorf("the panel %q asks for nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			all = append(all, strings.NewReplacer("$__rate_interval", "1m", "$job", "sluice-apiserver").Replace(target.Expr))
		}
	}
	if len(all) < 20 {
		s.Fatalf("the dashboard has the expressions %q", all)
	}
	return all
}

// alertExpressions are those of every rule.
func (s *scenario) alertExpressions() (all []string) {
	s.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Expr string }
		}
	}
	s.must(yaml.Unmarshal([]byte(s.read("artifacts", "monitoring", "rules.yaml")), &file))
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			all = append(all, rule.Expr)
		}
	}
	return all
}

// prometheusServer is one that runs until the end of the test.
type prometheusServer struct {
	*scenario
	url string
}

// prometheus scrapes a server as somebody, with the alerts that ship.
func (s *scenario) prometheus(as *scraper, server string) *prometheusServer {
	s.Helper()
	dir := s.TempDir()
	secret, err := s.Host.CoreV1().Secrets("sluice-system").Get(s.ctx(), "sluice-apiserver-serving", metav1.GetOptions{})
	s.must(err)
	s.must(os.WriteFile(filepath.Join(dir, "ca.crt"), secret.Data["ca.crt"], 0o600))
	s.must(os.WriteFile(filepath.Join(dir, "token"), []byte(as.token), 0o600))
	config := map[string]any{
		"global":     map[string]string{"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "5s"},
		"rule_files": []string{filepath.Join(s.Repository(), "artifacts", "monitoring", "rules.yaml")},
		"scrape_configs": []map[string]any{{
			"job_name": "sluice-apiserver", "scheme": "https",
			"authorization":  map[string]string{"credentials_file": filepath.Join(dir, "token")},
			"tls_config":     map[string]string{"ca_file": filepath.Join(dir, "ca.crt"), "server_name": "sluice-apiserver.sluice-system.svc"},
			"static_configs": []map[string]any{{"targets": []string{strings.TrimPrefix(server, "https://")}}},
		}},
	}
	content, err := yaml.Marshal(config)
	s.must(err)
	s.must(os.WriteFile(filepath.Join(dir, "prometheus.yaml"), content, 0o600))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	address := listener.Addr().String()
	s.must(listener.Close())
	log := &strings.Builder{}
	command := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	command.Stdout, command.Stderr = log, log
	s.must(command.Start())
	s.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		if s.Failed() {
			s.Logf("Prometheus says:\n%s", log)
		}
	})
	p := &prometheusServer{s, "http://" + address}
	s.eventually("Prometheus", func(context.Context) bool {
		response, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// get asks the API of Prometheus.
func (p *prometheusServer) get(path string, into any) {
	p.Helper()
	response, err := (&http.Client{Timeout: time.Minute}).Get(p.url + "/api/v1/" + path)
	p.must(err)
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	p.must(json.NewDecoder(response.Body).Decode(&answer))
	if answer.Status != "success" {
		p.Fatalf("%s: %s", path, answer.Error)
	}
	p.must(json.Unmarshal(answer.Data, into))
}

// finds is true if an expression has a result. One that cannot be read fails the test.
func (p *prometheusServer) finds(expression string) bool {
	p.Helper()
	var found struct{ Result []json.RawMessage }
	p.get("query?query="+url.QueryEscape(expression), &found)
	return len(found.Result) > 0
}

// rulesAreHealthy waits until every alert was evaluated, and fails the test if one could not be.
func (p *prometheusServer) rulesAreHealthy() {
	p.Helper()
	want := len(p.alertExpressions())
	p.eventually("every alert to be evaluated", func(context.Context) bool {
		var found struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		p.get("rules", &found)
		healthy := 0
		for _, group := range found.Groups {
			for _, rule := range group.Rules {
				if rule.Health == "err" {
					p.Fatalf("%s: %s", rule.Name, rule.LastError)
				}
				if rule.Health == "ok" {
					healthy++
				}
			}
		}
		return healthy == want
	})
}

// metricsNamed are the metrics that expressions ask for.
func (p *prometheusServer) metricsNamed(expressions []string) (all []string) {
	for _, expression := range expressions {
		bare := regexp.MustCompile(`\{[^}]*\}|by \([^)]*\)|"[^"]*"`).ReplaceAllString(expression, "")
		for _, name := range regexp.MustCompile(`[a-z]+_[a-z_]+|\bup\b`).FindAllString(bare, -1) {
			if name != "histogram_quantile" {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
