package webhook_test

import (
	"errors"
	"strings"
	"testing"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/ingress/internal/webhook"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	const (
		unknown   = jobsv1.Action_ACTION_UNSPECIFIED
		queued    = jobsv1.Action_ACTION_QUEUED
		waiting   = jobsv1.Action_ACTION_WAITING
		started   = jobsv1.Action_ACTION_IN_PROGRESS
		completed = jobsv1.Action_ACTION_COMPLETED
		public    = false
		private   = true
	)
	ours := wire.RunnerName(7, 1)
	serve := func(pool string) webhook.Verdict { return webhook.Verdict{Pool: pool} }
	ignore := func(reason webhook.Reason) webhook.Verdict { return webhook.Verdict{Reason: reason} }
	named, byOwner := policy("acme/app"), policy("acme/*")
	for name, test := range map[string]struct {
		policy  webhook.Policy
		action  jobsv1.Action
		label   string
		runner  string
		repo    string
		private bool
		want    webhook.Verdict
	}{
		"a queued job with our label is served":                    {policy(), queued, "modal", "", "app", private, serve("default")},
		"labels match without case":                                {policy(), queued, "MoDaL", "", "app", private, serve("default")},
		"a label that looks like ours is another, and known":       {policy(), queued, "m\u043edal", "", "app", private, webhook.Verdict{Pool: "default", Reason: webhook.LookAlike}},
		"one that looks like nothing is another":                   {policy(), queued, "m\u043edal-x", "", "app", private, ignore(webhook.OtherLabels)},
		"a job that took our runner is heard, whatever its labels": {policy(), started, "m\u043edal", ours, "app", private, serve("")},
		"a longer label is another":                                {policy(), queued, "modal-x", "", "app", private, ignore(webhook.OtherLabels)},
		"a waiting job with our label is heard":                    {policy(), waiting, "modal", "", "app", private, serve("default")},
		"a cancelled job with our label is heard":                  {policy(), completed, "modal", "", "app", private, serve("default")},
		"a started job with our label on another runner is heard":  {policy(), started, "modal", "other", "app", private, serve("default")},
		"a foreign job queued is not ours":                         {policy(), queued, "self-hosted", ours, "app", private, ignore(webhook.OtherLabels)},
		"a foreign job waiting is not ours":                        {policy(), waiting, "self-hosted", ours, "app", private, ignore(webhook.OtherLabels)},
		"a foreign job that took our runner is heard":              {policy(), started, "self-hosted", ours, "app", private, serve("")},
		"a foreign job that ended on our runner is heard":          {policy(), completed, "self-hosted", ours, "app", private, serve("")},
		"a job of a refused repository that took our runner, too":  {named, started, "self-hosted", ours, "other", public, serve("")},
		"a foreign job on a foreign runner is not":                 {policy(), started, "self-hosted", "mgr-x-1", "app", private, ignore(webhook.OtherLabels)},
		"an action that GitHub may add is not":                     {policy(), unknown, "modal", ours, "app", private, ignore(webhook.OtherAction)},
		"a public repository must be named":                        {policy(), queued, "modal", "", "app", public, ignore(webhook.PublicUnsaid)},
		"a public repository that is named is served":              {named, queued, "modal", "", "APP", public, serve("default")},
		"a private repository that is not named is refused":        {named, queued, "modal", "", "other", private, ignore(webhook.RepoRefused)},
		"an account admits its private repositories":               {byOwner, queued, "modal", "", "other", private, serve("default")},
		"an account does not admit its public repositories":        {byOwner, queued, "modal", "", "other", public, ignore(webhook.PublicUnsaid)},
		"an account and a name together admit that public one":     {policy("acme/*", "acme/app"), queued, "modal", "", "app", public, serve("default")},
		"the name counts although the account comes after it":      {policy("acme/app", "acme/*"), queued, "modal", "", "app", public, serve("default")},
		"another account of the same repository's name is refused": {policy("other/app"), queued, "modal", "", "app", private, ignore(webhook.RepoRefused)},
		"another account does not admit":                           {policy("other/*"), queued, "modal", "", "app", private, ignore(webhook.RepoRefused)},
	} {
		ev := &jobsv1.JobEvent{
			Action: test.action, JobId: 8, Labels: []string{"linux", test.label}, RunnerName: test.runner,
			Repository: &jobsv1.Repository{Owner: "Acme", Name: test.repo, Private: test.private},
		}
		if got := webhook.Decide(ev, test.policy); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestAJobThatAsksForTwoPoolsIsPublishedSoThatItsAuthorHearsOfIt(t *testing.T) {
	t.Parallel()
	p := webhook.Policy{Route: func([]string) (string, error) { return "gpu", errors.New("two pools") }}
	ev := &jobsv1.JobEvent{
		Action: jobsv1.Action_ACTION_QUEUED, Labels: []string{"modal", "modal-gpu"}, Repository: &jobsv1.Repository{Private: true},
	}
	if got := webhook.Decide(ev, p); got.Pool != "gpu" || got.Reason != webhook.None {
		t.Errorf("got %+v", got)
	}
}

// Nobody else tells the job's author why it waits for ever.
func TestAJobWhoseLabelOnlyLooksLikeOursIsInTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	response := r.send(signed(replace(t, ours(t), `["Modal", "ubuntu-latest"]`, `["m\u043edal"]`)))
	said := r.log.String()
	if response.Code != 202 || response.Body.String() != "ignored\n" || len(r.queue.stored) > 0 {
		t.Errorf("%d %q, published %v", response.Code, response.Body, r.queue.stored)
	}
	for _, want := range []string{"WARN", `"label that only looks like ours"`, `m\\u043edal`, "pool=default", "job_id=289782451", "outcome=ignored_lookalike"} {
		if !strings.Contains(said, want) {
			t.Errorf("log: %s lacks %s", said, want)
		}
	}
}

func TestAJobThatIsNotTakenForItsLabelsIsInTheLogByItsID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	response := r.send(signed(replace(t, ours(t), `["Modal", "ubuntu-latest"]`, `["Modal", ""]`)))
	if said := r.log.String(); response.Code != 400 || !strings.Contains(said, "job 289782451 of run 2202229078: workflow_job.labels[1]: must be") {
		t.Errorf("%d; log: %s", response.Code, said)
	}
}
