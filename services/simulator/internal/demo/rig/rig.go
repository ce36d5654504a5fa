// Package rig runs the whole system on this machine as an operator would: nats-server, the simulator in place of GitHub
// and Modal, ingress and workers, each a process of its own, on free ports of the loopback interface.
//
// The demo and the end-to-end tests stand on it. It knows the programs by their environment, their addresses and their
// log lines only: no code of theirs may be imported here, and no process or file may be left when a Rig was stopped.
package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"modal-github-runner/services/simulator/internal/demo/process"
)

const (
	// startTimeout is generous for a machine that does other things too; each program is ready within a second.
	startTimeout = time.Minute
	// stopPatience is above what a worker gives the launches that it has in hand, 30 s, and its closing, 15 s.
	stopPatience = 50 * time.Second
	// loopback lets the system choose the port.
	loopback = "127.0.0.1:0"

	appID = 4711
)

// Options of Start.
type Options struct {
	// Dir gets configuration, data and logs. It must exist, and is the caller's to remove.
	Dir string
	// Bin holds the programs nats-server, simulator, ingress and worker.
	Bin string
	// Ingresses and Workers are how many of each run: at least one. Several ingresses are behind one balanced address.
	Ingresses, Workers int
	// Seed decides all chance in the simulator.
	Seed uint64
	// Env is added to the environment of ingresses and workers.
	Env []string
	// Via, if set, turns the URL of what a program of ours connects to into the one that it is given instead. It is asked
	// at every start of the program.
	Via func(l Link, url string) string
}

// Rig is a running system. Its methods must not be called at the same time, except for those of Simulator.
type Rig struct {
	// Secrets are those of this run; nothing outside of it accepts them.
	Secrets Secrets
	// Simulator is the side door to GitHub and Modal.
	Simulator *Simulator

	options   Options
	natsPort  int
	balancer  *balancer
	nats      *part
	simulator *part
	ingresses []*part
	workers   []*part
}

// part is one program of the rig, which may be started again.
type part struct {
	spec  process.Spec
	proc  *process.Process
	addr  string // of the public listener, if it has one
	admin string
}

// Start starts everything and waits until it is ready. The caller must call Stop; after an error nothing is left running.
func Start(ctx context.Context, o Options) (_ *Rig, err error) {
	r := &Rig{options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Stop())
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %s", startTimeout))
	defer cancel()
	if r.Secrets, err = newSecrets(); err != nil {
		return nil, err
	}
	if err := r.writeSecrets(); err != nil {
		return nil, err
	}
	if err := r.configureNATS(ctx); err != nil {
		return nil, err
	}
	if err := r.StartNATS(ctx); err != nil {
		return nil, err
	}
	if err := r.startSimulator(ctx); err != nil {
		return nil, err
	}
	for n := range o.Ingresses {
		r.ingresses = append(r.ingresses, &part{spec: r.spec("ingress", n), addr: loopback})
		if err := r.StartIngress(ctx, n); err != nil {
			return nil, err
		}
	}
	if len(r.ingresses) > 1 {
		if r.balancer, err = newBalancer(ctx, r.ingresses); err != nil {
			return nil, err
		}
	}
	for n := range o.Workers {
		r.workers = append(r.workers, &part{spec: r.spec("worker", n)})
		if err := r.StartWorker(ctx, n); err != nil {
			return nil, err
		}
	}
	return r, r.AwaitReady(ctx)
}

// Attach is a rig of nothing but a simulator that others run, whose side door is at the URL control. The caller must call Stop,
// which ends none of their programs.
func Attach(control string) *Rig {
	return &Rig{Simulator: newSimulator(addresses{Control: strings.TrimRight(control, "/")})}
}

// spec is a program of ours: with its place, and without what this process has in its environment, such as the
// credentials of real accounts.
func (r *Rig) spec(program string, n int) process.Spec {
	return process.Spec{
		Name: fmt.Sprintf("%s-%d", program, n+1), Path: filepath.Join(r.options.Bin, program), Dir: r.options.Dir,
		Env: []string{"HOME=" + r.options.Dir, "TMPDIR=" + r.options.Dir, "LOG_FORMAT=json"},
	}
}

func (r *Rig) startSimulator(ctx context.Context) error {
	spec := r.spec("simulator", 0)
	spec.Name = "simulator"
	spec.Args = []string{
		"run", "--github-addr=" + loopback, "--modal-addr=" + loopback, "--control-addr=" + loopback,
		"--seed=" + strconv.FormatUint(r.options.Seed, 10),
	}
	spec.Env = slices.Concat(spec.Env, r.githubApp(), []string{
		"GITHUB_TOKEN=" + r.Secrets.GitHubToken,
		"MODAL_TOKEN_ID=" + r.Secrets.ModalTokenID, "MODAL_TOKEN_SECRET=" + r.Secrets.ModalTokenSecret,
	})
	r.simulator = &part{spec: spec}
	line, err := r.simulator.start(ctx, "simulator started")
	if err != nil {
		return err
	}
	var started addresses
	if err := json.Unmarshal([]byte(line), &started); err != nil {
		return fmt.Errorf("log line %q of the simulator: %w", line, err)
	}
	r.Simulator = newSimulator(started)
	return nil
}

// Ingress is the process of the ingress n.
func (r *Rig) Ingress(n int) *process.Process { return r.ingresses[n].proc }

// Worker is the process of the worker n.
func (r *Rig) Worker(n int) *process.Process { return r.workers[n].proc }

// WebhookURL is where GitHub's webhooks go to.
func (r *Rig) WebhookURL() string {
	addr := r.ingresses[0].addr
	if r.balancer != nil {
		addr = r.balancer.addr()
	}
	return "http://" + addr + "/webhooks/github"
}

// AdminURLs are the admin listeners of ingresses and workers.
func (r *Rig) AdminURLs() []string {
	var urls []string
	for _, p := range slices.Concat(r.ingresses, r.workers) {
		urls = append(urls, "http://"+p.admin)
	}
	return urls
}

// parts are all programs that were started, in that order.
func (r *Rig) parts() []*part {
	all := slices.Concat([]*part{r.nats, r.simulator}, r.ingresses, r.workers)
	return slices.DeleteFunc(all, func(p *part) bool { return p == nil || p.proc == nil })
}

// Check returns an error if a program ended that nobody told to, with the last lines of its log.
func (r *Rig) Check() error {
	for _, p := range r.parts() {
		if err := p.proc.Check(); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends all programs, the last started first, and waits for them. The error names those that did not end well. A
// second Stop does nothing.
func (r *Rig) Stop() error {
	var errs []error
	for _, p := range slices.Backward(r.parts()) {
		errs = append(errs, p.proc.Stop(stopPatience))
	}
	if r.balancer != nil {
		r.balancer.stop()
		r.balancer = nil
	}
	if r.Simulator != nil {
		r.Simulator.close()
	}
	return errors.Join(errs...)
}

// Tails are the last lines of every log, each under its program's name.
func (r *Rig) Tails(lines int) string {
	var out strings.Builder
	for _, p := range r.parts() {
		fmt.Fprintf(&out, "%s:\n%s\n", p.proc.Name(), p.proc.Tail(lines))
	}
	return out.String()
}

// Dir is where configuration, data and logs are.
func (r *Rig) Dir() string { return r.options.Dir }
