package app_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/worker/app"
)

// command runs one of the operator's commands against the worker.
func (i *instance) command(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	parser, err := kong.New(&app.OperatorCommands{}, kong.BindTo(&out, (*io.Writer)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(append(args, "--addr", i.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	err = parsed.Run()
	return out.String(), err
}

func TestAnOperatorIsToldWhyAJobWaits(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	github := httptest.NewServer(http.HandlerFunc(onlyRuns))
	t.Cleanup(github.Close)
	i := start(t, "NATS_URL="+server.URL(), "GITHUB_API_URL="+github.URL)
	poll(t, func() bool { return i.ready(t) })
	if out, err := i.command(t, "explain", "7"); out != "" || err == nil || err.Error() != `id: must be of a job that was taken on in the last week; why one was not, for its labels or its repository, is in the logs of ingress and workers (got "7")` {
		t.Errorf("before the webhook: %q, %v", out, err)
	}
	for _, job := range []int64{7, 8} {
		publish(t, server, &jobsv1.JobEvent{
			Action: jobsv1.Action_ACTION_QUEUED, JobId: job, Pool: wire.DefaultPool, Labels: []string{"modal"}, ReceivedAt: timestamppb.Now(),
			DeliveryId: "72d3162e-cc78-11e3-81ab-4c9367dc0958",
			Repository: &jobsv1.Repository{Owner: "octo", Name: "repo", Private: job == 7}, // A public one that nobody has allowed is refused.
		})
	}
	says := func(pattern string, args ...string) {
		t.Helper()
		form := regexp.MustCompile(pattern)
		var out string
		poll(t, func() bool {
			var err error
			out, err = i.command(t, args...)
			return err == nil && form.MatchString(out)
		})
		if strings.Contains(out, "canary") {
			t.Errorf("a secret: %s", out)
		}
	}
	says(`(?m)^waits for +its launch as mgr-7-1: put off: no image to start from yet: its build is tried again within a minute: .*503.*; (next try at|a worker)`, "explain", "https://github.com/octo/repo/actions/runs/1/job/7")
	says(`(?m)mgr-7-1 +launch put off: no image`, "explain", "7")
	if _, metrics := i.get(t, "/metrics"); !i.ready(t) || !strings.Contains(metrics, `worker_paused{reason="no_image"} 1`) || !strings.Contains(i.log.String(), `"msg":"image not built"`) {
		t.Errorf("without an image it is to be ready, as no outage elsewhere takes workers out of service, but to tell of it:\n%s", metrics)
	}
	says(`(?m) queued \(72d3162e\)$`, "explain", "7")
	says(`"event":"72d3162e-cc78-11e3-81ab-4c9367dc0958"`, "explain", "7", "--json")
	says(`"waits_for":"its launch as mgr-7-1`, "explain", "7", "--json")
	says(`(?m)^7 +waiting .*octo/repo`, "jobs")
	says(`(?m)^8 +dead .*ALLOWED_REPOS`, "jobs", "--state=dead")
	says(`(?m)^8 .*octo/repo.*ALLOWED_REPOS`, "dead-letters", "list")
	says(`(?m)^reason +ALLOWED_REPOS: `, "dead-letters", "show", "https://github.com/octo/other/actions/runs/1/job/8")
	says(`^job 8 is (waiting|dead); `, "dead-letters", "replay", "8")
	says(`(?ms)replayed \(by an operator\).*given up: ALLOWED_REPOS`, "explain", "8")
	says(`^nothing is paused\n$`, "paused")
	says(`(?m)^all +\d+s$`, "pause")
	says(`(?m)^all +\d+s\nrepo/octo/other +\d+s$`, "pause", "octo/other")
	says(`(?m)^pool/default +\d+s$`, "pause", "default")
	publish(t, server, &jobsv1.JobEvent{
		Action: jobsv1.Action_ACTION_QUEUED, JobId: 9, Pool: wire.DefaultPool, Labels: []string{"modal"}, ReceivedAt: timestamppb.Now(),
		Repository: &jobsv1.Repository{Owner: "octo", Name: "repo", Private: true},
	})
	says(`(?m)^waits for +a place for its sandbox: (the whole fleet|pool default) is paused by an operator since \S+; it is number 1 of 1 in line`, "explain", "9")
	says(`(?m)^all +0 .*is paused by an operator`, "places")
	says(`(?m)^jobs that wait for a place: 1$`, "places")
	poll(t, func() bool {
		_, metrics := i.get(t, "/metrics")
		return strings.Contains(metrics, `worker_paused{reason="operator"} 1`) && strings.Contains(metrics, `worker_jobs_held_back{pool="default",reason="paused"} 1`)
	})
	says(`(?m)^pool/default +`, "resume")
	says(`(?m)^repo/octo/other +`, "resume", "default")
	says(`^nothing is paused\n$`, "resume", "octo/other")
	says(`(?m)^waits for +its launch as mgr-9-1: put off: no image`, "explain", "9")
	if _, err := i.command(t, "pause", "gpu"); err == nil || err.Error() != `pool: must be one of default (got "gpu")` {
		t.Errorf("got %v", err)
	}
	if _, err := i.command(t, "jobs", "--state=lost"); err == nil || !strings.HasPrefix(err.Error(), "state: must be one of ") {
		t.Errorf("got %v", err)
	}
}

func TestAnOperatorIsToldThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	i := start(t, "NATS_URL=nats://"+nobody, "GITHUB_API_URL=http://"+nobody)
	if _, err := i.command(t, "jobs"); err == nil {
		t.Error("without NATS it lists jobs")
	}
	if err := i.stop(); err != nil {
		t.Error(err)
	}
	if _, err := i.command(t, "jobs"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}
