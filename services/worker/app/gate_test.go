package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

const tiers = `
pools:
  default: {labels: [modal], untrusted: forks}
  closed: {labels: [closed], secrets: [hub]}
  both: {labels: [both], untrusted: allow, network: {mode: open}}
  forks: {labels: [modal-forks], untrusted: allow, network: {mode: block}}
  wary: {labels: [wary], untrusted: forks, distrust_public: true}
  shut: {labels: [shut], distrust_public: true}
`

func rulesOf(t *testing.T, text string) rules {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := pools.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return rules{Source: source, trialDue: func(run.Image) bool { return false }}
}

// What a job's event says of its repository is believed only against the job.
func TestWhoseJobsGetRunnersAndOfWhichPool(t *testing.T) {
	t.Parallel()
	r := rulesOf(t, tiers)
	const why = "its code is that of mallory/api (pull_request)"
	own, public := run.Origin{Private: true, Head: "acme/api"}, run.Origin{Head: "acme/api"}
	fork := run.Origin{Private: true, Foreign: true, Head: "mallory/api", Event: "pull_request"}
	publicFork := run.Origin{Foreign: true, Head: "mallory/api", Event: "pull_request"}
	const unnamed = `ALLOWED_REPOS: public repository not named (got "acme/api"); an operator can name it there`
	const refuses = "untrusted: " + why + ", and pool closed refuses such jobs; an operator can change that by untrusted of the pool in the pools file"
	lost := errors.New("no answer")
	job := func(pool, label string) run.Job {
		return run.Job{ID: 1, Owner: "acme", Repo: "api", Private: true, Pool: pool, Labels: []string{"self-hosted", label}}
	}
	sent := job("forks", "modal")
	sent.Untrusted = why
	const visible = "its repository is public"
	named := []wire.RepoPattern{"acme/api"}
	open := func(pool, label, untrusted string) run.Job {
		j := job(pool, label)
		j.Private, j.Untrusted = false, untrusted
		return j
	}
	saysPublic := job("default", "modal")
	saysPublic.Private = false
	for name, test := range map[string]struct {
		repos  []wire.RepoPattern
		job    run.Job
		origin run.Origin
		asking error
		pool   string // empty if it gets no runner
		reason string // why it is untrusted, or gets none
		asked  bool
	}{
		"a private repository's own":                         {job: job("default", "modal"), origin: own, pool: "default", asked: true},
		"a fork's goes where its pool sends it":              {job: job("default", "modal"), origin: fork, pool: "forks", reason: why, asked: true},
		"one that was sent there stays":                      {job: sent, origin: fork, pool: "forks", reason: why, asked: true},
		"one that was sent there wrongly is back":            {job: sent, origin: own, pool: "default", asked: true},
		"a fork's, of a pool for both":                       {job: job("both", "both"), origin: fork, pool: "both", reason: why, asked: true},
		"a fork's that asks for a pool for it":               {job: job("forks", "modal-forks"), origin: fork, pool: "forks", reason: why, asked: true},
		"an own one that asks for that":                      {job: job("forks", "modal-forks"), origin: own, pool: "forks", asked: true},
		"a fork's, of a pool that says nothing":              {job: job("closed", "closed"), origin: fork, reason: refuses, asked: true},
		"an own one of that":                                 {job: job("closed", "closed"), origin: own, pool: "closed", asked: true},
		"one of a pool that is gone":                         {job: job("gone", "modal"), origin: fork, pool: "forks", reason: why, asked: true},
		"one of a pool that is gone, for no other":           {job: job("gone", "gone"), origin: fork, pool: "gone", reason: why, asked: true},
		"a public one though its event says private":         {job: job("default", "modal"), origin: public, reason: unnamed, asked: true},
		"a public one's fork though its event says private":  {job: job("default", "modal"), origin: publicFork, reason: unnamed, asked: true},
		"a public one whose event says so":                   {job: saysPublic, origin: public, reason: unnamed},
		"a public one that is named":                         {repos: []wire.RepoPattern{"acme/api"}, job: saysPublic, origin: public, pool: "default", asked: true},
		"a fork of a public one that is named":               {repos: []wire.RepoPattern{"acme/api"}, job: saysPublic, origin: publicFork, pool: "forks", reason: why, asked: true},
		"a public one whose account is named":                {repos: []wire.RepoPattern{"acme/*"}, job: job("default", "modal"), origin: public, reason: unnamed, asked: true},
		"a public one, of a pool that trusts none":           {repos: named, job: open("wary", "wary", ""), origin: public, pool: "forks", reason: visible, asked: true},
		"it stays where it was sent":                         {repos: named, job: open("forks", "wary", visible), origin: public, pool: "forks", reason: visible, asked: true},
		"it is back once it is private":                      {repos: named, job: open("forks", "wary", visible), origin: own, pool: "wary", asked: true},
		"a private one, of a pool that trusts none":          {job: job("wary", "wary"), origin: own, pool: "wary", asked: true},
		"a fork of a public one, of a pool that trusts none": {repos: named, job: open("wary", "wary", ""), origin: publicFork, pool: "forks", reason: why, asked: true},
		"a public one that became so since its event":        {repos: named, job: job("wary", "wary"), origin: public, pool: "forks", reason: visible, asked: true},
		"a public one, of a pool that refuses it": {
			repos: named, job: open("shut", "shut", ""), origin: public, asked: true,
			reason: "untrusted: its repository is public, and pool shut refuses such jobs; an operator can change that by untrusted of the pool in the pools file",
		},
		"one that is not named": {
			repos: []wire.RepoPattern{"acme/web"}, job: job("default", "modal"),
			reason: `ALLOWED_REPOS: repository not allowed (got "acme/api"); an operator can name it there`,
		},
		"GitHub does not answer": {job: job("default", "modal"), asking: lost, reason: "no answer", asked: true},
	} {
		asked := false
		g := gate{test.repos, r, func(context.Context, run.Job) (run.Origin, error) { asked = true; return test.origin, test.asking }}
		got, err := g.admit(t.Context(), test.job)
		pool, reason := got.Pool, got.Untrusted
		if err != nil {
			pool, reason = "", err.Error()
		}
		if test.reason == refuses && got.Untrusted != why {
			t.Errorf("%s: it is not said to be untrusted", name)
		}
		if pool != test.pool || reason != test.reason || asked != test.asked {
			t.Errorf("%s: got pool %q, %q, asked: %v", name, pool, reason, asked)
		}
		if _, permanent := errors.AsType[*run.PermanentError](err); permanent != (err != nil && test.asking == nil) {
			t.Errorf("%s: for good: %v: %v", name, permanent, err)
		}
		if err == nil && got.Private != test.origin.Private {
			t.Errorf("%s: private: %v", name, got.Private)
		}
	}
}

// A pools file may change between a job's being sent to a pool and its launch.
func TestAnUntrustedJobGetsNoSandboxOfAPoolThatRefusesSuch(t *testing.T) {
	t.Parallel()
	r := rulesOf(t, tiers)
	for pool, takes := range map[string]bool{"default": false, "closed": false, "both": true, "forks": true, "wary": false, "shut": false} {
		for _, untrusted := range []string{"", "its code is that of mallory/api (pull_request)"} {
			got, err := r.sandboxFor(run.Job{Pool: pool, Labels: []string{"modal"}, Untrusted: untrusted})
			if (err == nil) != (takes || untrusted == "") {
				t.Errorf("a job of pool %s that is untrusted for %q: %v", pool, untrusted, err)
			}
			if wary := pool == "wary" || pool == "shut"; err == nil && (got.Untrusted != takes || got.OnlyPrivate != wary) {
				t.Errorf("a sandbox of pool %s: %+v", pool, got)
			}
		}
	}
}
