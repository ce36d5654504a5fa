package adminapi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/run"
)

// sandboxes have a log that says whose it is.
type sandboxes struct {
	says run.Evidence
	err  error
}

func (s sandboxes) Ask(context.Context, string, bool) (run.Evidence, error) { return s.says, s.err }

func (sandboxes) Fate(_ context.Context, id string, _ bool) (run.Fate, error) {
	return run.Fate{How: "the end of " + id}, nil
}

func (s sandboxes) Tail(_ context.Context, id string, lines int) (string, error) {
	return fmt.Sprintf("%d lines of %s", lines, id), s.err
}

func TestTheLogOfAJobIs(t *testing.T) {
	launched := func(job int64, attempt int, sandbox string) run.Runner {
		return run.Runner{Name: run.Name{Job: job, Attempt: attempt}, State: run.Launched, SandboxID: sandbox}
	}
	job := func(change func(*run.Run)) run.Run {
		r := run.Run{Job: run.Job{ID: 1}, State: run.Waiting, Attempts: 2, Runner: run.Name{Job: 1, Attempt: 2}}
		change(&r)
		return r
	}
	asIs := func(*run.Run) {}
	for _, tt := range []struct {
		name    string
		run     run.Run
		runners []run.Runner
		path    string
		err     error
		want    string
	}{
		{name: "its runner's", run: job(asIs), runners: []run.Runner{launched(1, 2, "sb-2")}, want: "mgr-1-2 in sb-2, the end of sb-2: 100 lines of sb-2"},
		{name: "the last runner's that had a sandbox", run: job(asIs), runners: []run.Runner{launched(1, 1, "sb-1"), launched(1, 2, "")}, want: "mgr-1-1 in sb-1, the end of sb-1: 100 lines of sb-1"},
		{
			name:    "that of the runner that took it, whoever that was launched for",
			run:     job(func(r *run.Run) { r.State, r.RanOn = run.Done, run.Name{Job: 7, Attempt: 1} }),
			runners: []run.Runner{launched(1, 1, "sb-1"), launched(7, 1, "sb-7")}, want: "mgr-7-1 in sb-7, the end of sb-7: 100 lines of sb-7",
		},
		{name: "as long as was asked for", run: job(asIs), path: "?lines=5", runners: []run.Runner{launched(1, 2, "sb-2")}, want: "mgr-1-2 in sb-2, the end of sb-2: 5 lines of sb-2"},
		{name: "not there before a sandbox is", run: job(asIs), runners: []run.Runner{launched(1, 2, "")}, want: `409 id: must be of a job for which a sandbox was started (got "1")`},
		{name: "not to be had in no lines", run: job(asIs), path: "?lines=0", want: `400 lines: must be 1 to 1000 (got "0")`},
		{name: "not to be had in many words", run: job(asIs), path: "?lines=all", want: `400 lines: must be 1 to 1000 (got "all")`},
		{name: "missing of a sandbox that never began, whose end is told", run: job(asIs), runners: []run.Runner{launched(1, 2, "sb-2")}, err: errors.New("no task"), want: "503 mgr-1-2: the end of sb-2; its log: no task"},
		{name: "not there of a job that nobody knows", run: run.Run{Job: run.Job{ID: 2}}, want: "404 id: must be of a job that was taken on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := store{runs: []run.Run{tt.run}, runners: tt.runners}
			handler := serve(adminapi.Options{Ledger: s, Queue: s, Handler: s, Pools: noPools, Sandboxes: sandboxes{err: tt.err}, Log: slog.New(slog.DiscardHandler)})
			type answer struct {
				adminapi.Log
				adminapi.Problem
			}
			status, got := ask[answer](t, handler, http.MethodGet, "/jobs/1/log"+tt.path)
			text := fmt.Sprintf("%s in %s, %s: %s", got.Runner, got.SandboxID, got.How, got.Text)
			if status != http.StatusOK {
				text = fmt.Sprintf("%d %s", status, got.Error)
			}
			if !strings.HasPrefix(text, tt.want) {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
		})
	}
}
