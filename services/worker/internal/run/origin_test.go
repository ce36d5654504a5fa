package run_test

import (
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

func TestWhoseCodeIsTrusted(t *testing.T) {
	for name, test := range map[string]struct {
		origin run.Origin
		want   string
	}{
		"the repository's own":               {run.Origin{Private: true, Head: "acme/api", Event: "push"}, ""},
		"a public repository's own":          {run.Origin{Head: "acme/api", Event: "pull_request"}, ""},
		"a fork's":                           {run.Origin{Private: true, Foreign: true, Head: "mallory/api", Event: "pull_request"}, "its code is that of mallory/api (pull_request)"},
		"a fork's, whatever began it":        {run.Origin{Foreign: true, Head: "mallory/api", Event: "pull_request_target"}, "its code is that of mallory/api (pull_request_target)"},
		"that of a fork that is gone":        {run.Origin{Foreign: true, Event: "pull_request"}, "its code is that of a fork that is gone (pull_request)"},
		"that of which GitHub tells nothing": {run.Origin{Foreign: true}, "its code is that of a fork that is gone (event not known)"},
	} {
		if got := test.origin.Untrusted(); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestAnUntrustedJobKeepsThePoolThatItWasSentTo(t *testing.T) {
	strangers := job(1)
	strangers.Untrusted, strangers.Pool = "its code is that of mallory/repo (pull_request)", "forks"
	itself := func(r *run.Run) { r.Job = strangers }
	public := job(1)
	public.Private = true
	launch := func(j run.Job) []run.Effect { return []run.Effect{run.Launch{Runner: runner(1, 1), Job: j}} }
	checkDecide(t, []decided{
		{"a job that waits is vetted", waiting(), run.Vetted{Job: strangers}, waiting(itself), nil},
		{"vetted again, it is as it was", waiting(itself), run.Vetted{Job: strangers}, waiting(itself), nil},
		{"its visibility is what GitHub says", waiting(), run.Vetted{Job: public}, waiting(func(r *run.Run) { r.Job.Private = true }), nil},
		{"it is trusted after all", waiting(itself), run.Vetted{Job: job(1)}, waiting(), nil},
		{"a job that runs is as it is", running(), run.Vetted{Job: strangers}, running(), nil},
		{"a job that is done is as it is", done(), run.Vetted{Job: strangers}, done(), nil},
		{
			"approved after it was held, it is one still",
			waiting(func(r *run.Run) { r.Job, r.State, r.HeldAt = strangers, run.OnHold, ago(time.Minute) }),
			run.Queued{Job: job(1), At: ago(time.Second)},
			waiting(func(r *run.Run) {
				r.Job, r.HeldAt, r.QueuedAt, r.LastQueuedAt = strangers, ago(time.Minute), ago(time.Second), ago(time.Second)
			}), launch(strangers),
		},
		{
			"a copy of its event names the pool that it asked for", waiting(itself),
			run.Queued{Job: job(1), At: ago(time.Minute)},
			waiting(itself), launch(strangers),
		},
	})
}
