package app

import (
	"errors"
	"time"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/ingress/internal/limit"
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
	AllowedRepos   []wire.RepoPattern   `env:"ALLOWED_REPOS" doc:"repositories whose jobs run, a comma list of owner/repo and owner/*; without it all that are not public. A public one must be named as owner/repo, since anybody can open pull requests there"`
	PoolsFile      string               `env:"POOLS_FILE" doc:"YAML file of the pools: labels, sizes, limits, weights, prices; read again when it changes. Without it there is the pool default for the label modal"`
	MaxBody        config.ByteSize      `env:"INGRESS_MAX_BODY" default:"1MiB" min:"1KiB" max:"25MiB" doc:"largest webhook accepted; GitHub sends at most 25MiB"`
	MaxInFlight    int                  `env:"INGRESS_MAX_IN_FLIGHT" default:"256" min:"1" max:"65536" doc:"events being stored at once, of some 100KiB at most"`
	TenantRate     int                  `env:"INGRESS_INSTALLATION_RATE" default:"100" min:"1" max:"1000000" doc:"events a second of one installation of the App, or of one owner's own hooks; one that sends more gets only half of INGRESS_MAX_IN_FLIGHT, so that others are heard"`
	TenantBurst    int                  `env:"INGRESS_INSTALLATION_BURST" default:"20000" min:"1" max:"10000000" doc:"how many of them may come at once, after a pause; the default is 10,000 jobs with two events each"`
	SourceRate     int                  `env:"INGRESS_SOURCE_RATE" default:"10" min:"1" max:"1000000" doc:"requests a second from one public address (in IPv6, one /64) that may lack a good signature; more are refused while memory for bodies is short, unless a signed one ever came from there"`
	SourceBurst    int                  `env:"INGRESS_SOURCE_BURST" default:"100" min:"1" max:"10000000" doc:"how many of them may come at once, after a pause"`
	TrustedProxies int                  `env:"INGRESS_TRUSTED_PROXIES" default:"0" min:"0" max:"16" doc:"reverse proxies between the Internet and ingress, each of which adds its client to X-Forwarded-For; without any, the header counts for nothing"`
	DrainDelay     time.Duration        `env:"INGRESS_DRAIN_DELAY" default:"0s" min:"0s" max:"1m" doc:"how long to answer on after SIGTERM, so that load balancers see the readiness change; 5s in Kubernetes"`
	Pprof          bool                 `env:"INGRESS_PPROF" default:"false" doc:"serve /debug/pprof on the admin listener"`
	NATS           natsx.Config
	Log            obs.LogConfig
	Trace          obs.TraceConfig
}

func (c *Config) source() limit.Rate {
	return limit.Rate{PerSecond: c.SourceRate, Burst: c.SourceBurst}
}

func (c *Config) tenant() limit.Rate {
	return limit.Rate{PerSecond: c.TenantRate, Burst: c.TenantBurst}
}

// Validate implements [config.Validator].
func (c *Config) Validate() error {
	errs := []error{
		config.CheckListen("INGRESS_ADDR", c.Addr),
		config.CheckListen("INGRESS_ADMIN_ADDR", c.AdminAddr),
		c.NATS.Validate(),
		c.Trace.Validate(),
	}
	if _, err := pools.Open(c.PoolsFile); err != nil {
		errs = append(errs, config.Faulty("POOLS_FILE", c.PoolsFile, err))
	}
	if config.ListenersClash(c.Addr, c.AdminAddr) {
		errs = append(errs, config.Invalid("INGRESS_ADMIN_ADDR", "must not take the address of INGRESS_ADDR", c.AdminAddr))
	}
	return errors.Join(errs...)
}
