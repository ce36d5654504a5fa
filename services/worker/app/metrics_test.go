package app

import (
	"errors"
	"flag"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/services/internal/obs"
	"modal-github-runner/services/worker/internal/budget"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/rollout"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// described finds the name and the labels in a description, which has no other way to show them.
var described = regexp.MustCompile(`fqName: "([^"]+)".*constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

var update = flag.Bool("update", false, "write the names of the metrics")

// wantMetrics holds the names and labels against the file that dashboards and alerts are held against, too.
func wantMetrics(t *testing.T, got []string) {
	t.Helper()
	const golden = "testdata/metrics.txt"
	content := strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), content); diff != "" {
		t.Error(diff)
	}
}

// Operators build on these names: a change here breaks their dashboards and alerts.
func TestMetricNamesAreAsPromised(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forge.NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := budget.NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := rollout.NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if err := registry.Register(obs.NewConfigInfo(serviceName, func() (string, error) { return "default", nil })); err != nil {
		t.Fatal(err)
	}
	m.Message("done")
	m.Slots("outcomes", 32, 1)
	m.Step("jit", time.Second)
	m.Launched("default", "launched")
	m.QueueToLaunch("default", time.Second)
	m.QueueToStart("default", time.Second)
	m.Buried()
	m.Swept("orphans", sweep.Report{
		Found: map[sweep.Kind]int{sweep.Spare: 1}, Runs: map[run.State]int{run.Waiting: 3}, Sandboxes: map[run.RunnerState]int{run.Unknown: 2},
		Neglected: map[string]time.Time{"default": time.Unix(1, 0)}, Warm: map[string]int{"default": 1},
	}, nil)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}

	descriptions := make(chan *prometheus.Desc)
	go func() { defer close(descriptions); registry.Describe(descriptions) }()
	var got []string
	for d := range descriptions {
		parts := described.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("what is this? %s", d)
		}
		got = append(got, strings.TrimSpace(parts[1]+" "+strings.ReplaceAll(parts[2]+parts[3], ",", " ")))
	}
	slices.Sort(got)
	wantMetrics(t, got)
	for name, value := range map[string]float64{
		`worker_messages_total{verdict="done"}`: testutil.ToFloat64(m.messages), "worker_dead_letters_total": testutil.ToFloat64(m.deadLetters),
		"worker_oldest_waiting_job_timestamp_seconds": testutil.ToFloat64(m.neglected), "worker_warm_sandboxes": testutil.ToFloat64(m.warm), "worker_launches_total": testutil.ToFloat64(m.launches), "worker_slots_in_use": testutil.ToFloat64(m.slotsInUse),
	} {
		if value != 1 {
			t.Errorf("%s is %v, want 1", name, value)
		}
	}
}

func TestWhereGitHubIs(t *testing.T) {
	t.Parallel()
	parse := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	const public = "https://api.github.com"
	tests := []struct {
		name           string
		cfg            Config
		want, releases string // where else the runner's releases are
	}{
		{"nothing is set", Config{}, public, ""},
		{"github.com by its URL", Config{GitHubURL: parse("https://API.github.com/")}, "https://API.github.com", ""},
		{"github.com by its name", Config{GHESDomain: "GitHub.com"}, public, ""},
		{"github.com by the name of its API", Config{GHESDomain: "api.github.com"}, public, ""},
		{"a server by its name", Config{GHESDomain: "host:8443"}, "https://host:8443/api/v3", public},
		{"a server by its URL", Config{GitHubURL: parse("https://host/api/v3")}, "https://host/api/v3", public},
		{"a slash at the end does not count", Config{GitHubURL: parse("https://host/api/v3/")}, "https://host/api/v3", public},
		{"a company at ghe.com by its name", Config{GHESDomain: "Octo.ghe.com"}, "https://api.octo.ghe.com", public},
		{"by the name of its API", Config{GHESDomain: "api.octo.ghe.com"}, "https://api.octo.ghe.com", public},
		{"a company at ghe.com by its URL", Config{GitHubURL: parse("https://api.octo.ghe.com")}, "https://api.octo.ghe.com", public},
		{"a server that only looks so", Config{GHESDomain: "octo.ghe.com.example"}, "https://octo.ghe.com.example/api/v3", public},
		{"the simulator", Config{GitHubURL: parse("http://127.0.0.1:1")}, "http://127.0.0.1:1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.cfg.apiURL().String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			releases := ""
			if u := tt.cfg.publicURL(); u != nil {
				releases = u.String()
			}
			if releases != tt.releases {
				t.Errorf("releases are looked up at %s, want %s", releases, tt.releases)
			}
		})
	}
}

func TestOnlyTheLeaderTellsOfTheLedger(t *testing.T) {
	t.Parallel()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	report := sweep.Report{
		Found: map[sweep.Kind]int{sweep.Spare: 2}, Runs: map[run.State]int{run.Waiting: 3}, Sandboxes: map[run.RunnerState]int{run.Unknown: 4},
		Warm: map[string]int{"default": 5},
	}
	m.lead([]sweep.Loop{{Name: "orphans"}, {Name: "stuck"}})
	m.success.WithLabelValues("stuck").Set(1)
	m.Swept("orphans", report, nil)
	m.Swept("warming", sweep.Report{}, nil) // It did not look.
	m.Swept("stuck", sweep.Report{Found: map[sweep.Kind]int{sweep.Over: 1}}, errors.New("GitHub is away"))
	for name, got := range map[string]float64{
		"waiting 3": testutil.ToFloat64(m.runs.WithLabelValues("waiting")), "unknown 4": testutil.ToFloat64(m.sandboxes.WithLabelValues("unknown")),
		"done 0": testutil.ToFloat64(m.runs.WithLabelValues("done")), "spare 2": testutil.ToFloat64(m.findings.WithLabelValues("orphans", "spare_runner")),
		"ready 5": testutil.ToFloat64(m.warm.WithLabelValues("default")), "over 1": testutil.ToFloat64(m.findings.WithLabelValues("stuck", "job_is_over")),
	} {
		if want := name[strings.IndexByte(name, ' ')+1:]; want != strconv.FormatFloat(got, 'f', -1, 64) {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if n, stuck := testutil.CollectAndCount(m.success), testutil.ToFloat64(m.success.WithLabelValues("stuck")); n != 3 || stuck != 1 {
		t.Errorf("%d loops have had success or could have, want all; the failed one at %v, want 1", n, stuck)
	}
	m.follow()
	if n := testutil.CollectAndCount(m.success) + testutil.CollectAndCount(m.runs) + testutil.CollectAndCount(m.sandboxes) + testutil.CollectAndCount(m.warm); n != 0 {
		t.Errorf("%d values are left", n)
	}
	if n := testutil.CollectAndCount(m.findings); n != 2 {
		t.Errorf("%d counters are left, want all 2", n)
	}
}
