package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/services/internal/natstest"
)

func TestAPoolIsServedFromWhenItIsInTheFileUntilItIsNot(t *testing.T) {
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
	poll(t, func() bool { return strings.Contains(i.log.String(), `"msg":"pool not served any more"`) })
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
