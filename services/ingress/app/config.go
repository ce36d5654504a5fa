package app

import (
	"errors"
	"fmt"
	"net"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/internal/obs"
)

// ErrConfig says that the configuration can't work; the errors around it name every bad variable.
var ErrConfig = errors.New("bad configuration")

// Config is all that an operator sets.
type Config struct {
	Addr           string               `env:"INGRESS_ADDR" default:":8080" doc:"address of the public listener"`
	AdminAddr      string               `env:"INGRESS_ADMIN_ADDR" default:"127.0.0.1:9090" doc:"address of the admin listener: health, readiness, metrics"`
	Secret         *config.SecretSource `env:"WEBHOOK_SECRET" required:"true" doc:"secret that GitHub signs webhooks with"`
	SecretPrevious *config.SecretSource `env:"WEBHOOK_SECRET_PREVIOUS" doc:"secret before the present one, still accepted while it is changed"`
	AllowedRepos   []wire.RepoPattern   `env:"ALLOWED_REPOS" doc:"comma list of owner/repo, and owner/* for what is not public of an account; without it every repository that is not public"`
	MaxBody        config.ByteSize      `env:"INGRESS_MAX_BODY" default:"1MiB" min:"1KiB" max:"25MiB" doc:"largest webhook accepted; GitHub sends at most 25MiB"`
	MaxInFlight    int                  `env:"INGRESS_MAX_IN_FLIGHT" default:"256" min:"1" max:"65536" doc:"webhooks at work at once; times the largest body it bounds the memory"`
	DrainDelay     time.Duration        `env:"INGRESS_DRAIN_DELAY" default:"0s" min:"0s" max:"1m" doc:"how long to answer on after SIGTERM, so that load balancers see the readiness change; 5s in Kubernetes"`
	Pprof          bool                 `env:"INGRESS_PPROF" default:"false" doc:"serve /debug/pprof on the admin listener"`
	NATS           natsx.Config
	Log            obs.LogConfig
	Trace          obs.TraceConfig
}

// Validate implements [config.Validator].
func (c *Config) Validate() error {
	return errors.Join(
		checkAddr("INGRESS_ADDR", c.Addr),
		checkAddr("INGRESS_ADMIN_ADDR", c.AdminAddr),
		c.NATS.Validate(),
	)
}

func checkAddr(name, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return config.Invalid(name, "must be host:port or :port", addr)
	}
	return nil
}

// LoadConfig reads the configuration from environ. The error, ErrConfig with one line per bad variable, comes with what
// took effect nevertheless.
func LoadConfig(environ []string) (Config, config.Effective, error) {
	var cfg Config
	effective, err := config.Load(environ, &cfg, "INGRESS_")
	if err != nil {
		err = fmt.Errorf("%w:\n%w", ErrConfig, err)
	}
	return cfg, effective, err
}
