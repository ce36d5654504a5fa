package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/worker/internal/run"
)

// paramsFor is the part of a create call that all sandboxes of a pool have in common. Secrets and Volumes are looked up each time:
// one that is made anew under its name has another id. An error says that nothing was created; if one is missing it is a
// run.RefusedError.
func paramsFor(ctx context.Context, client *modal.Client, p run.Pool) (*modal.SandboxCreateParams, error) {
	params := &modal.SandboxCreateParams{
		CPU: p.CPU, CPULimit: p.CPULimit, MemoryMiB: p.MemoryMiB, MemoryLimitMiB: p.MemoryLimitMiB, GPU: p.GPU,
		Timeout: p.Timeout,
		Regions: p.Regions, Cloud: p.Cloud, Runtime: modal.SandboxRuntime(p.Runtime),
		IncludeOidcIdentityToken: p.OIDC,

		Command: []string{"/bin/bash", "-c", entrypoint, "entrypoint", cacheScript},
		Env:     map[string]string{},
		Volumes: map[string]*modal.Volume{},
	}
	maps.Copy(params.Env, p.Env)
	if p.Docker {
		withDocker(params)
	}
	if !p.Untrusted {
		params.Env["RUNNER_TRUSTED"] = "1"
	}
	params.Env["RUNNER_IDLE_SECONDS"] = strconv.Itoa(int(p.IdleLimit.Seconds()))
	if p.Reach != nil { // A list that is absent would leave all of its kind in reach.
		params.OutboundDomainAllowlist = &modal.Allowlist{Entries: p.Reach.Domains}
		params.OutboundCIDRAllowlist = &modal.Allowlist{Entries: p.Reach.CIDRs}
	}
	for _, name := range p.Secrets {
		secret, err := client.Secrets.FromName(ctx, name, nil)
		if err != nil {
			return nil, missing(p, "secret", name, err)
		}
		params.Secrets = append(params.Secrets, secret)
	}
	for _, v := range p.Volumes {
		volume, err := client.Volumes.FromName(ctx, v.Name, nil)
		if err != nil {
			return nil, missing(p, "volume", v.Name, err)
		}
		params.Volumes[v.Path] = volume.WithMountOptions(&modal.VolumeMountOptionsParams{ReadOnly: &v.ReadOnly})
	}
	return params, nil
}

// withDocker has a sandbox run Docker, as RUNNER_DOCKER tells its entrypoint: in a virtual machine, which is what Modal recommends, or
// in gVisor if that is the pool's runtime, by an option that Modal calls experimental.
func withDocker(params *modal.SandboxCreateParams) {
	if params.Runtime == modal.SandboxRuntimeGVisor {
		params.ExperimentalOptions = map[string]any{"enable_docker": true}
	} else {
		params.Runtime = modal.SandboxRuntimeVM
	}
	params.Env["RUNNER_DOCKER"] = string(params.Runtime)
}

// missing is why a pool can't have what it names.
func missing(p run.Pool, kind, name string, err error) error {
	if _, ok := errors.AsType[modal.NotFoundError](err); ok {
		return &run.RefusedError{
			Err:    fmt.Errorf("pool %s: %s: must exist at Modal (got %q): %w", p.Name, kind, name, err),
			Advice: "create it there, or take it out of the pools file",
		}
	}
	err = fmt.Errorf("modal %s %s: %w", kind, name, err)
	p.Asked = false // By no label can a job choose one.
	if refused := refusal(err, p); refused != nil && !throttles(err) {
		return refused
	}
	return err
}
