package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
)

// Prepare creates the accounts and repositories of workloads, and sends GitHub's webhooks to the rig's ingress.
func Prepare(ctx context.Context, r *rig.Rig) error {
	if err := addOwners(ctx, r.Simulator); err != nil {
		return err
	}
	return r.Simulator.AddAppHook(ctx, r.WebhookURL(), r.Secrets.Webhook)
}

func addOwners(ctx context.Context, s *rig.Simulator) error {
	for _, o := range workload.Owners() {
		if err := s.AddOwner(ctx, o.Login, o.Org, o.Repos...); err != nil {
			return err
		}
	}
	return nil
}

// Serve starts the runs of the plan at their times and calls watch with every state, until all jobs that there are have
// ended and nothing of them is left, or time is up for that: the last state tells which. The error is that of watch, of a
// program that died, or of ctx.
func Serve(ctx context.Context, r *rig.Rig, plan []workload.Dispatch, watch func(report.Report) error) (report.Report, error) {
	return serve(ctx, r, plan, sandboxGrace, watch)
}

// serve is Serve with another time for sandboxes to go.
func serve(
	ctx context.Context, r *rig.Rig, plan []workload.Dispatch, ofSandboxes time.Duration, watch func(report.Report) error,
) (report.Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var dispatching sync.WaitGroup
	defer dispatching.Wait()
	defer cancel(context.Canceled)
	before, err := Observe(ctx, r)
	if err != nil {
		return before, err
	}
	jobs := len(before.Jobs)
	for _, d := range plan {
		jobs += len(d.Workflow.Jobs)
	}
	dispatching.Go(func() {
		if err := dispatch(ctx, r.Simulator, plan); err != nil {
			cancel(err)
		}
	})
	deadline := time.Now().Add(plan[len(plan)-1].At + patience + time.Duration(jobs)*perJob)
	var ended time.Time
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		now, err := Observe(ctx, r)
		if err == nil {
			err = watch(now)
		}
		if err != nil {
			return now, err
		}
		if now.Counts().Done() == jobs {
			if ended.IsZero() {
				ended = time.Now()
			}
			deadline = ended.Add(grace(now, ofSandboxes))
		}
		if time.Now().After(deadline) || (!ended.IsZero() && now.Leaked() == 0) {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// grace is how long after the last job has ended that which is left may take to go.
func grace(left report.Report, ofSandboxes time.Duration) time.Duration {
	if len(left.Sandboxes) > 0 {
		return ofSandboxes
	}
	return max(ofSandboxes, registrationGrace)
}

func dispatch(ctx context.Context, s *rig.Simulator, plan []workload.Dispatch) error {
	began := time.Now()
	for _, d := range plan {
		timer := time.NewTimer(time.Until(began.Add(d.At)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		if err := s.Dispatch(ctx, d.Workflow); err != nil {
			return fmt.Errorf("dispatch a run in %s: %w", d.Workflow.Repo, err)
		}
	}
	return nil
}

// Observe reads the state, Modal after GitHub, so that a runner that took a job is among the sandboxes. The error is that
// of a program that died, or of ctx.
func Observe(ctx context.Context, r *rig.Rig) (report.Report, error) {
	if err := r.Check(); err != nil {
		return report.Report{}, err
	}
	github, err := r.Simulator.GitHub(ctx)
	if err != nil {
		return report.Report{}, err
	}
	modal, err := r.Simulator.Modal(ctx)
	if err != nil {
		return report.Report{}, err
	}
	return report.New(github, modal), nil
}
