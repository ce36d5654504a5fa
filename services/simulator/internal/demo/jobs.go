package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
)

// answersWithin is how long the simulator may take to start.
const answersWithin = time.Minute

// JobsCmd is the command line for a workload in a system that others run, such as the compose stack.
type JobsCmd struct {
	Control *url.URL `default:"http://127.0.0.1:8083" help:"The simulator's side door."`
	Jobs    int      `default:"25" help:"How many jobs to serve."`
	Fail    int      `default:"0"  help:"How many of them fail on purpose."`
	Rate    float64  `default:"0"  help:"Jobs per second; 0 means bursts."`
	Seed    uint64   `default:"1"  help:"Decides the workload."`

	Grace time.Duration `default:"45s" help:"How long after the last job sandboxes may be left. Those of which a webhook was lost take minutes."`
}

// Validate reports every mistake in the command line.
func (c JobsCmd) Validate() error { return checkWorkload(c.Jobs, c.Fail, c.Rate) }

// Run implements the command. It returns an error if a job was lost or failed unasked, if a sandbox or a registration was left, or if
// asked ended first. The simulator must send webhooks to the system already, and run no other jobs meanwhile.
func (c JobsCmd) Run(asked context.Context, out io.Writer) (err error) {
	ctx, stop := context.WithCancelCause(asked)
	defer stop(nil)
	screen := newScreen(out, stop)
	r := rig.Attach(c.Control.String())
	defer func() { err = errors.Join(err, r.Stop()) }()
	if err := c.await(ctx, r); err != nil {
		return err
	}
	if err := addOwners(ctx, r.Simulator); err != nil {
		return err
	}
	before, err := Observe(ctx, r)
	if err != nil {
		return err
	}
	plan := workload.Plan(workload.Options{Jobs: c.Jobs, Fail: c.Fail, Rate: c.Rate, Seed: c.Seed})
	fmt.Fprintf(screen, "demo: %d jobs in %d workflow runs\n", c.Jobs, len(plan))
	show := newProgress(screen, c.Jobs)
	final, err := serve(ctx, r, plan, c.Grace, func(now report.Report) error {
		show.update(now.Since(before))
		return nil
	})
	show.end()
	if err != nil {
		return err
	}
	return errors.Join(judge(final.Since(before), time.Now(), c.Jobs, c.Fail, screen), context.Cause(ctx))
}

// await returns once the simulator answers.
func (c JobsCmd) await(ctx context.Context, r *rig.Rig) error {
	limited, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	for {
		_, err := Observe(limited, r)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limited.Done():
			return fmt.Errorf("%s does not answer: %w", c.Control, err)
		case <-time.After(pollInterval):
		}
	}
}
