package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/scenario"
	"modal-github-runner/services/simulator/internal/world"
)

// scenarioPatience bounds each job of the scenario, which takes a second or two.
const scenarioPatience = time.Minute

// poolsFile writes the pools of the scenario into dir, and returns what makes the services read them.
func poolsFile(dir string) ([]string, error) {
	path := filepath.Join(dir, "pools.yaml")
	if err := os.WriteFile(path, scenario.Pools(), 0o600); err != nil {
		return nil, fmt.Errorf("pools file of the demo: %w", err)
	}
	return []string{"POOLS_FILE=" + path}, nil
}

// playScenario runs the jobs of the scenario one after the other, each to its end, and says of each how it went. The error is the
// first job's that did not end as it has to, or that of a program that died, or of ctx.
func playScenario(ctx context.Context, r *rig.Rig, out io.Writer) error {
	jobs, err := scenario.Jobs()
	if err != nil {
		return err
	}
	for _, j := range jobs {
		fmt.Fprintf(out, "demo: %s (%s): ", j.Shows, j.Labels[len(j.Labels)-1])
		if err := play(ctx, r, j); err != nil {
			fmt.Fprintln(out, err)
			return fmt.Errorf("%w: job %s: %w", errVerdict, j.Name, err)
		}
		fmt.Fprintf(out, "%s\n", map[string]string{scenario.Success: "succeeded", scenario.Refused: "refused: " + j.Told}[j.Ends])
	}
	return nil
}

func play(ctx context.Context, r *rig.Rig, j scenario.Job) error {
	ctx, cancel := context.WithTimeoutCause(ctx, scenarioPatience, fmt.Errorf("not over after %s", scenarioPatience))
	defer cancel()
	if err := begin(ctx, r, j); err != nil {
		return err
	}
	for cancelled := false; ; {
		if err := r.Check(); err != nil {
			return err
		}
		github, err := r.Simulator.GitHub(ctx)
		if err != nil {
			return err
		}
		modal, err := r.Simulator.Modal(ctx)
		if err != nil {
			return err
		}
		over, err := j.Judge(github, modal)
		job, _ := j.Find(github)
		switch {
		case over && err != nil:
			return err
		case over && job.Status == world.Completed:
			return nil
		case over && !cancelled: // GitHub has it in its queue still: nobody was to take it.
			if err := r.Simulator.CancelRun(ctx, job.RunID); err != nil {
				return err
			}
			cancelled = true
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
}

// begin starts the job, and makes the fork before whose commit it runs.
func begin(ctx context.Context, r *rig.Rig, j scenario.Job) error {
	if owner, repo, fork := strings.Cut(j.Head, "/"); fork {
		if err := r.Simulator.AddOwner(ctx, owner, false, repo); err != nil {
			return err
		}
	}
	return r.Simulator.Dispatch(ctx, j.Workflow())
}
