package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

func TestAPoolIsServedFromWhenItIsInTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pools.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pools: {first: {labels: [modal]}}\n")
	server := natstest.Start(t)
	github, asked := hangingGitHub(t)
	i := start(t, "NATS_URL="+server.URL(), "GITHUB_API_URL="+github, "WORKER_SOFT_STOP=100ms", "POOLS_FILE="+path)
	poll(t, func() bool { return i.ready(t) })

	write("pools: {second: {labels: [modal, more]}}\n")
	poll(t, func() bool { return strings.Contains(i.log.String(), `"msg":"serving a new pool"`) })
	publish(t, server, &jobsv1.JobEvent{
		Action: jobsv1.Action_ACTION_QUEUED, JobId: 7, Pool: "second", Labels: []string{"modal", "more"}, ReceivedAt: timestamppb.Now(),
		Repository: &jobsv1.Repository{Owner: "octo", Name: "repo", Private: true},
	})
	await(t, asked)

	write("pools: {second: {labels: []}}\n")
	poll(t, func() bool {
		_, metrics := i.get(t, "/metrics")
		return strings.Contains(metrics, "\nworker_config_last_reload_successful 0\n")
	})
	if !strings.Contains(i.log.String(), "pools.second.labels: must have between 1 and 20") {
		t.Error("the log does not say what is wrong with the file")
	}
}

func TestAnOperatorIsToldThatRunnersOfOrganizationsHaveNoCache(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte("pools: {kept: {labels: [modal], cache: {size: 1GiB}}, bare: {labels: [bare]}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := natstest.Start(t)
	for scope, want := range map[string]int{"org": 1, "enterprise RUNNER_ENTERPRISE=corp": 1, "repo": 0} {
		i := start(t, append(strings.Fields("RUNNER_SCOPE="+scope), "NATS_URL="+server.URL(), "GITHUB_API_URL=http://"+nobody, "POOLS_FILE="+path)...)
		poll(t, func() bool { return i.ready(t) })
		log := i.log.String()
		if got := strings.Count(log, `"msg":"runners of organizations and enterprises have no cache"`); got != want || strings.Contains(log, `"pool":"bare"`) {
			t.Errorf("scope %s: said %d times, want %d", scope, got, want)
		}
	}
}

// A job keeps its labels, and its pool is what these ask for now. So nobody waits in the queue of a pool that was renamed or taken
// away, though a worker begins when there are only jobs left of it.
func TestAJobOfAPoolThatTheFileHasNoMore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte("pools: {new: {labels: [modal]}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := natstest.Start(t)
	conn, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := natsx.JetStream(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology([]string{"old"})); err != nil {
		t.Fatal(err)
	}
	for job, labels := range map[int64][]string{7: {"modal"}, 8: {"gpu"}} {
		publish(t, server, &jobsv1.JobEvent{
			Action: jobsv1.Action_ACTION_QUEUED, JobId: job, Pool: "old", Labels: labels, ReceivedAt: timestamppb.Now(),
			Repository: &jobsv1.Repository{Owner: "octo", Name: "repo", Private: true},
		})
	}
	i := start(t, "NATS_URL="+server.URL(), "GITHUB_API_URL=http://"+nobody, "POOLS_FILE="+path)
	says := func(what string, args ...string) {
		t.Helper()
		poll(t, func() bool {
			out, err := i.command(t, args...)
			return err == nil && strings.Contains(out, what)
		})
	}
	poll(t, func() bool { return i.ready(t) })
	says(`"pool":"new","state":"waiting"`, "explain", "7", "--json")
	says("pool: must be one of the pools file", "explain", "8", "--json")
}
