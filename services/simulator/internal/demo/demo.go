// Package demo is the command that serves a whole workload on this machine and says how it went.
//
// It shows, counts and judges; how the programs are run is rig's business, and what counts as served is report's.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
)

const (
	// maxJobs keeps the simulator's state, which is read several times a second, small.
	maxJobs = 10_000
	// pollInterval is how often the state is read.
	pollInterval = 250 * time.Millisecond
	// A job counts as lost when the workload has not ended by patience after its last run was started, and perJob more
	// for each job: two busy cores serve several jobs a second.
	patience, perJob = 2 * time.Minute, time.Second
	// What may be left for how long after the last job has ended: a runner that no job took is gone within 30 s, and its
	// registration only after the minute or two for which GitHub refuses calls when there were too many.
	sandboxGrace, registrationGrace = 45 * time.Second, 150 * time.Second
	// rounding of times in the last lines.
	rounding = 100 * time.Millisecond
	// tailLines of each log are shown when the demo fails.
	tailLines = 10
)

// errVerdict is for a workload that ran and was not served as it should be; its programs are well.
var errVerdict = errors.New("not served well")

// Cmd is the command line of the demo.
type Cmd struct {
	Jobs          int     `default:"25" help:"How many jobs to serve."`
	Fail          int     `default:"0"  help:"How many of them fail on purpose."`
	Rate          float64 `default:"0"  help:"Jobs per second; 0 means bursts."`
	Workers       int     `default:"2"  help:"How many workers to run."`
	Ingresses     int     `default:"1"  help:"How many ingresses to run, behind one address."`
	KillWorker    bool    `             help:"Kill a worker (SIGKILL) when half of the jobs are launched."`
	RestartWorker bool    `             help:"Start the killed worker again at once."`
	Scenario      bool    `default:"true" help:"Show a job of each kind first, with a GPU or Docker, say." negatable:""`
	Seed          uint64  `default:"1"  help:"Decides the workload and all chance in the simulator."`
	Bin           string  `             help:"Folder with nats-server, ingress, worker and simulator; default: that of this program." type:"existingdir"`
	Keep          bool    `             help:"Keep logs and data, and say where."`
}

// Validate reports every mistake in the command line.
func (c Cmd) Validate() error {
	return errors.Join(
		checkWorkload(c.Jobs, c.Fail, c.Rate),
		checkFlag(c.Workers >= 1, "workers", "at least 1", c.Workers),
		checkFlag(c.Ingresses >= 1, "ingresses", "at least 1", c.Ingresses),
		checkFlag(!c.KillWorker || c.Workers > 1 || c.RestartWorker, "kill-worker", "with a second worker or --restart-worker", c.Workers),
		checkFlag(!c.RestartWorker || c.KillWorker, "restart-worker", "with --kill-worker", c.RestartWorker),
	)
}

func checkWorkload(jobs, fail int, rate float64) error {
	return errors.Join(
		checkFlag(jobs >= 1 && jobs <= maxJobs, "jobs", fmt.Sprintf("between 1 and %d", maxJobs), jobs),
		checkFlag(fail >= 0 && fail <= jobs, "fail", "between 0 and the number of jobs", fail),
		checkFlag(rate >= 0, "rate", "0 or more", rate),
	)
}

func checkFlag(ok bool, name, rule string, value any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("--%s: must be %s (got %v)", name, rule, value)
}

// Run implements the command. It returns an error if a job was lost or failed unasked, if a sandbox or a registration was
// left, if a program died, if asked ended first, or if nobody read what it prints. No process is left in any case.
func (c Cmd) Run(asked context.Context, out io.Writer) (err error) {
	ctx, stop := context.WithCancelCause(asked)
	defer stop(nil)
	screen := newScreen(out, stop)
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("path of this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "modal-github-runner-demo-")
	if err != nil {
		return fmt.Errorf("directory of the demo: %w", err)
	}
	defer sayStop(asked, screen, dir)()
	failed := true // by a panic, too
	defer func() {
		if c.Keep || (failed && ctx.Err() == nil) {
			fmt.Fprintf(screen, "demo: logs and data are in %s\n", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	fmt.Fprintf(screen, "demo: starting nats-server, simulator, %d × ingress, %d × worker\n", c.Ingresses, c.Workers)
	pools, err := poolsFile(dir)
	if err != nil {
		return err
	}
	r, err := rig.Start(ctx, rig.Options{
		Dir: dir, Bin: cmp.Or(c.Bin, filepath.Dir(exe)), Ingresses: c.Ingresses, Workers: c.Workers, Seed: c.Seed, Env: pools,
	})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, r.Stop())
		failed = err != nil
		if failed && ctx.Err() == nil && !errors.Is(err, errVerdict) {
			fmt.Fprintf(screen, "%s\n", r.Tails(tailLines))
		}
	}()
	if err := c.serve(ctx, r, screen); err != nil {
		return err
	}
	return context.Cause(ctx) // what was printed last may have reached nobody
}

// sayStop prints, once ctx ends, that the demo stops, and what becomes of dir if that is not waited for. The function that
// it returns ends the watch.
func sayStop(ctx context.Context, out *screen, dir string) (end func()) {
	said := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(said)
		before := ""
		if out.terminal {
			before = "\n" // leaves the line that changes
		}
		fmt.Fprintf(out, "%sdemo: stopping everything; Ctrl-C once more ends it at once and leaves %s behind, with keys in it\n", before, dir)
	})
	return func() {
		if !stop() {
			<-said
		}
	}
}

// serve puts the workload in and follows it to its end.
func (c Cmd) serve(ctx context.Context, r *rig.Rig, out *screen) error {
	if err := Prepare(ctx, r); err != nil {
		return err
	}
	if c.Scenario {
		if err := playScenario(ctx, r, out); err != nil {
			return err
		}
	}
	before, err := Observe(ctx, r)
	if err != nil {
		return err
	}
	plan := workload.Plan(workload.Options{Jobs: c.Jobs, Fail: c.Fail, Rate: c.Rate, Seed: c.Seed})
	fmt.Fprintf(out, "demo: %d jobs in %d workflow runs\n", c.Jobs, len(plan))
	show := newProgress(out, c.Jobs)
	strike := func(report.Counts) error { return nil }
	if c.KillWorker {
		strike = c.killer(ctx, r, show)
	}
	final, err := Serve(ctx, r, plan, func(now report.Report) error {
		now = now.Since(before)
		show.update(now)
		return strike(now.Counts())
	})
	show.end()
	if err != nil {
		return err
	}
	return judge(final.Since(before), time.Now(), c.Jobs, c.Fail, out)
}

// killer returns what kills the first worker once half of the jobs are launched.
func (c Cmd) killer(ctx context.Context, r *rig.Rig, show *progress) func(report.Counts) error {
	struck := false
	return func(now report.Counts) error {
		if struck || 2*(now.Launched+now.Running+now.Done()) < c.Jobs {
			return nil
		}
		struck = true
		show.note("demo: killing " + r.Worker(0).Name())
		if err := r.Worker(0).Kill(); err != nil || !c.RestartWorker {
			return err
		}
		return r.StartWorker(ctx, 0)
	}
}

// judge says how it went with so many jobs, of which so many were to fail, for a workload that was looked at last at the time seen.
func judge(final report.Report, seen time.Time, jobs, fail int, out io.Writer) error {
	if err := final.WriteTable(out); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	fmt.Fprintf(out, "\n%s\n%s\n", pace(final, seen), final.Summary(jobs))
	switch counts := final.Counts(); {
	case counts.Done() < jobs:
		return fmt.Errorf("%w: jobs were lost", errVerdict)
	case final.Leaked() > 0:
		return fmt.Errorf("%w: left are the sandboxes %v and the registrations %v", errVerdict, final.Sandboxes, final.Registrations)
	case counts.Failed != fail:
		return fmt.Errorf("%w: %d jobs failed, %d were asked to", errVerdict, counts.Failed, fail)
	}
	return nil
}

// pace tells the time that the jobs took from the time that their surplus runners were waited for.
func pace(final report.Report, seen time.Time) string {
	began, ended := final.Span()
	took, done := ended.Sub(began), final.Counts().Done()
	if done == 0 {
		return "demo: no job finished"
	}
	return fmt.Sprintf("demo: %d jobs from the first queued to the last finished in %s, %.1f a second; %s later %d runners were left",
		done, took.Round(rounding), float64(done)/took.Seconds(), max(0, seen.Sub(ended)).Round(rounding), len(final.Runners()))
}
