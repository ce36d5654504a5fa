package app

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/builds"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/rollout"
	"modal-github-runner/services/worker/internal/run"
)

func TestTheImagesWithAVersionThatIsToBeTriedAreListedBesideThoseInUse(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream(t)
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	source, err := openPools("", log, registry)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := rollout.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	newest := run.RunnerRelease{Version: "2.330.0", PublishedAt: time.Now().Add(-time.Hour)}
	versions := rollout.New(rollout.Options{
		JS: js, Metrics: metrics, Log: log, Now: time.Now, Latest: func(context.Context) (run.RunnerRelease, error) { return newest, nil },
	})
	a := &App{cfg: Config{RunnerVersion: forge.Latest}, rules: rules{Source: source}, builds: builds.New(js, "w", log), rollout: versions}
	if _, err := versions.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := func(patterns ...string) {
		t.Helper()
		var out strings.Builder
		if err := a.listImages(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if strings.Count(out.String(), "\n") != len(patterns) {
			t.Errorf("%d lines are wanted:\n%s", len(patterns), out.String())
		}
		for _, p := range patterns {
			if !regexp.MustCompile("(?m)^" + p + "$").MatchString(out.String()) {
				t.Errorf("no line is %s:\n%s", p, out.String())
			}
		}
	}
	const inUse = `runner 2\.330\.0: in use, published 1h0m ago`
	list(`IMAGE .*`, `default +not built .*`, inUse)
	newest.Version = "2.331.0"
	looking, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		versions.Run(looking)
	}()
	for versions.Candidate().Version == "" {
		if _, err := versions.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	<-stopped
	b := run.Build{Key: fleet.CandidateKey(run.Image{}), Recipe: "r", Runner: newest.Version}
	if _, err := a.builds.Once(t.Context(), b, func(context.Context) (string, error) { return "im-7", nil }); err != nil {
		t.Fatal(err)
	}
	list(`IMAGE .*`, `default +not built .*`, `default \(next\) +built .* 2\.331\.0 +im-7`, inUse, `runner 2\.331\.0: to be tried by the next job's sandbox`)
}

func TestAPoolIsWellUnlessOthersOfItsRunnersDoNotStart(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream(t)
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	a := &App{places: places.NewBook(js), rules: rulesOf(t, "pools: {default: {labels: [modal]}}\n"), options: Options{Now: time.Now}}
	fails := func(pool, key string, forGood bool) func(places.Record) places.Record {
		return func(r places.Record) places.Record { return r.Failed(pool, key, "it ended", forGood, time.Now()) }
	}
	for _, step := range []struct {
		what   string
		change func(places.Record) places.Record
		want   bool
	}{
		{"nothing is known", func(r places.Record) places.Record { return r }, true},
		{"another pool's runner failed", fails("gpu", "9.1", false), true},
		{"it failed itself", fails("default", "7.1", false), true},
		{"another one failed", fails("default", "8.1", false), false},
		{"one started", func(r places.Record) places.Record { return r.Started("default") }, true},
		{"its breaker is open", fails("default", "7.1", true), false},
	} {
		if _, err := a.places.Change(t.Context(), step.change); err != nil {
			t.Fatal(err)
		}
		got, err := a.poolIsWell(t.Context(), run.Runner{Name: run.Name{Job: 7, Attempt: 1}, Job: run.Job{ID: 7, Pool: "default"}})
		if err != nil || got != step.want {
			t.Errorf("%s: well is %t, %v", step.what, got, err)
		}
	}
}
