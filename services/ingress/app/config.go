package app

import (
	"errors"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/internal/obs"
)

// Config is all that an operator sets.
type Config struct {
	Addr           string               `env:"INGRESS_ADDR" default:":8080" doc:"address of the public listener"`
	AdminAddr      string               `env:"INGRESS_ADMIN_ADDR" default:"127.0.0.1:9090" doc:"address of the admin listener: health, readiness, metrics"`
	Secret         *config.SecretSource `env:"WEBHOOK_SECRET" required:"true" doc:"secret that GitHub signs webhooks with"`
	SecretPrevious *config.SecretSource `env:"WEBHOOK_SECRET_PREVIOUS" doc:"secret before the present one, still accepted while it is changed"`
	AllowedRepos   []wire.RepoPattern   `env:"ALLOWED_REPOS" doc:"repositories whose jobs run, a comma list of owner/repo and owner/*; without it all that are not public. A public one must be named as owner/repo, since strangers' pull requests run there"`
	MaxBody        config.ByteSize      `env:"INGRESS_MAX_BODY" default:"1MiB" min:"1KiB" max:"25MiB" doc:"largest webhook accepted; GitHub sends at most 25MiB"`
	MaxInFlight    int                  `env:"INGRESS_MAX_IN_FLIGHT" default:"256" min:"1" max:"65536" doc:"verified webhooks at work at once; times the largest body it bounds their memory"`
	DrainDelay     time.Duration        `env:"INGRESS_DRAIN_DELAY" default:"0s" min:"0s" max:"1m" doc:"how long to answer on after SIGTERM, so that load balancers see the readiness change; 5s in Kubernetes"`
	Pprof          bool                 `env:"INGRESS_PPROF" default:"false" doc:"serve /debug/pprof on the admin listener"`
	NATS           natsx.Config
	Log            obs.LogConfig
	Trace          obs.TraceConfig
}

// Validate implements [config.Validator].
func (c *Config) Validate() error {
	errs := []error{
		config.CheckListen("INGRESS_ADDR", c.Addr),
		config.CheckListen("INGRESS_ADMIN_ADDR", c.AdminAddr),
		c.NATS.Validate(),
		c.Trace.Validate(),
	}
	if config.ListenersClash(c.Addr, c.AdminAddr) {
		errs = append(errs, config.Invalid("INGRESS_ADMIN_ADDR", "must not take the address of INGRESS_ADDR", c.AdminAddr))
	}
	return errors.Join(errs...)
}
