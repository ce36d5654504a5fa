package rig

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Link is a connection of a program of ours, which Process.Name names, to one of the Targets.
type Link struct {
	From string
	To   Target
}

// Target is what ingresses and workers connect to.
type Target string

// The targets. Ingresses know ToNATS only.
const (
	ToNATS   Target = "nats"
	ToGitHub Target = "github"
	ToModal  Target = "modal"
)

// via is the URL that the program is given in place of the target's own.
func (r *Rig) via(p *part, to Target, url string) string {
	if r.options.Via == nil {
		return url
	}
	return r.options.Via(Link{From: p.spec.Name, To: to}, url)
}

// StartIngress starts the ingress n, counted from 0, again on the address that it had. It may not be ready yet.
func (r *Rig) StartIngress(ctx context.Context, n int) error {
	i := r.ingresses[n]
	i.spec.Env = slices.Concat(r.spec("ingress", n).Env, []string{
		"NATS_URL=" + r.via(i, ToNATS, r.NATSURL()), "INGRESS_ADDR=" + i.addr, "INGRESS_ADMIN_ADDR=" + loopback,
		"WEBHOOK_SECRET_FILE=" + r.path(WebhookSecret),
	}, r.options.Env)
	return i.startService(ctx, "ingress started")
}

// StartWorker starts the worker n, counted from 0. It may not be ready yet.
func (r *Rig) StartWorker(ctx context.Context, n int) error {
	w := r.workers[n]
	w.spec.Env = slices.Concat(r.spec("worker", n).Env, []string{
		"INSECURE_DEV=1", "WORKER_ADMIN_ADDR=" + loopback,
		"NATS_URL=" + r.via(w, ToNATS, r.NATSURL()),
		"GITHUB_API_URL=" + r.via(w, ToGitHub, r.Simulator.GitHubURL),
		"MODAL_SERVER_URL=" + r.via(w, ToModal, r.Simulator.ModalURL),
		"MODAL_TOKEN_ID=" + r.Secrets.ModalTokenID, "MODAL_TOKEN_SECRET_FILE=" + r.path(ModalTokenSecret),
	}, r.githubApp(), r.options.Env)
	return w.startService(ctx, "worker started")
}

// RunWorker runs a command of the worker program to its end, in the environment of the worker n and with more variables, and returns
// what it printed. The error is an [*exec.ExitError] if it ended with another exit code than 0.
func (r *Rig) RunWorker(ctx context.Context, n int, more []string, args ...string) (string, error) {
	spec := r.workers[n].spec
	cmd := exec.CommandContext(ctx, spec.Path, args...) //nolint:gosec // a program of ours
	cmd.Env, cmd.Dir = slices.Concat(spec.Env, more), spec.Dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("worker %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// AwaitReady waits until every ingress and worker that runs is ready.
func (r *Rig) AwaitReady(ctx context.Context) error {
	for _, p := range slices.Concat(r.ingresses, r.workers) {
		if p.proc == nil || p.proc.Ended() {
			continue
		}
		if err := p.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}
