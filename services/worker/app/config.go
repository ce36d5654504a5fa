package app

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/internal/obs"
	"modal-github-runner/services/worker/internal/forge"
)

// releaseAllowance is what a stop needs beside the handling of what is in hand: one pull's end, and closing connections.
const releaseAllowance = 15 * time.Second

// Config is the worker's configuration, as its environment gives it.
type Config struct {
	NATS  natsx.Config
	Log   obs.LogConfig
	Trace obs.TraceConfig

	AllowedRepos []wire.RepoPattern `doc:"repositories whose jobs run, a comma list of owner/repo and owner/*; without it all that are not public. A public one must be named as owner/repo, since anybody can open pull requests there" env:"ALLOWED_REPOS"`

	PoolsFile string `doc:"YAML file of the pools: labels, sizes, limits, weights, prices; read again when it changes. Without it there is the pool default for the label modal" env:"POOLS_FILE"`

	Admin AdminConfig

	Launches int           `default:"32"             doc:"launches in hand at once, per pool and worker"                          env:"WORKER_LAUNCHES"  max:"256" min:"1"`
	SoftStop time.Duration `default:"30s"            doc:"on SIGTERM, how long launches in hand may take before they are given back" env:"WORKER_SOFT_STOP" max:"10m" min:"0s"`

	AppIDs      []int64              `doc:"id of the GitHub App; of several, a comma list, that of the one with the webhook first" env:"GITHUB_APP_ID"`
	AppKey      *config.SecretSource `doc:"the App's private key, PEM; of several Apps one after the other, in the order of GITHUB_APP_ID" env:"GITHUB_APP_PRIVATE_KEY"`
	GitHubToken *config.SecretSource `doc:"a personal access token, instead of an App"  env:"GITHUB_TOKEN" form:"token"`
	GitHubURL   *url.URL             `doc:"GitHub's REST API; for GitHub Enterprise Server https://HOST/api/v3, for a company at ghe.com https://api.COMPANY.ghe.com. Unset: https://api.github.com" env:"GITHUB_API_URL" schemes:"https,http"`
	GHESDomain  string               `doc:"host of a GitHub Enterprise Server or of a company at ghe.com, instead of GITHUB_API_URL" env:"GITHUB_ENTERPRISE_DOMAIN"`

	RunnerScope   forge.RunnerScope `default:"repo"   doc:"where runners are registered: repo, org or enterprise"              env:"RUNNER_SCOPE"`
	Enterprise    string            `doc:"with RUNNER_SCOPE=enterprise: the enterprise's name in the URLs of its pages, github.com/enterprises/NAME" env:"RUNNER_ENTERPRISE"`
	RunnerGroupID int64             `doc:"id of the runner group that runners join. Without it and RUNNER_GROUP it is 1, GitHub's default" env:"RUNNER_GROUP_ID" min:"1"`
	RunnerGroup   string            `doc:"name of that group, instead of its id, with RUNNER_SCOPE=org or enterprise: each organization's own group of that name, or the enterprise's" env:"RUNNER_GROUP"`
	RunnerVersion string            `default:"latest" doc:"version of the runner, such as 2.330.0, or latest"      env:"RUNNER_VERSION"`

	ModalTokenID     *config.SecretSource `doc:"id of the Modal token"                     env:"MODAL_TOKEN_ID"     form:"token" required:"true"`
	ModalTokenSecret *config.SecretSource `doc:"the Modal token"                           env:"MODAL_TOKEN_SECRET" form:"token" required:"true"`
	ModalEnvironment string               `doc:"Modal environment; empty for the workspace's default" env:"MODAL_ENVIRONMENT"`
	ModalApp         string               `default:"github-runners" doc:"Modal App that holds the sandboxes" env:"MODAL_APP"`
	ModalServerURL   *url.URL             `doc:"Modal's control plane, if it is not the public one" env:"MODAL_SERVER_URL" schemes:"https,http"`

	InsecureDev bool `default:"false" doc:"accept http:// addresses of GitHub and Modal: for the simulator only" env:"INSECURE_DEV"`
}

// AdminConfig is about the admin listener.
type AdminConfig struct {
	Addr  string `default:"127.0.0.1:9091" doc:"address of /healthz, /readyz, /metrics and what operators ask; never public" env:"WORKER_ADMIN_ADDR"`
	Pprof bool   `default:"false"          doc:"serve /debug/pprof on the admin address"                 env:"WORKER_PPROF"`
}

var (
	versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	slugForm    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)
	modalName   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

// Validate implements config.Validator for the rules across fields.
func (c *Config) Validate() error {
	errs := []error{config.CheckListen("WORKER_ADMIN_ADDR", c.Admin.Addr), c.NATS.Validate(), c.Trace.Validate(), c.checkGitHubLogin()}
	if _, err := pools.Open(c.PoolsFile); err != nil {
		errs = append(errs, config.Faulty("POOLS_FILE", c.PoolsFile, err))
	}
	invalid := func(name, rule, value string) { errs = append(errs, config.Invalid(name, rule, value)) }
	encrypted := func(name string, u *url.URL) {
		if u != nil && u.Scheme == "http" && !c.InsecureDev {
			errs = append(errs, config.Invalid(name, "must be https:// unless INSECURE_DEV=1", u.String(), "INSECURE_DEV"))
		}
	}
	encrypted("GITHUB_API_URL", c.GitHubURL)
	encrypted("MODAL_SERVER_URL", c.ModalServerURL)
	if u := c.ModalServerURL; u != nil && u.Path != "" { // The SDK takes what follows the host for a part of the port.
		invalid("MODAL_SERVER_URL", "must have no path and no trailing slash", u.String())
	}
	if c.RunnerVersion != forge.Latest && !versionForm.MatchString(c.RunnerVersion) {
		invalid("RUNNER_VERSION", `must be "latest" or a version such as 2.330.0`, c.RunnerVersion)
	}
	errs = append(errs, c.checkGitHub(), c.checkGroup(), c.checkEnterprise())
	named := func(name, value string) {
		if !modalName.MatchString(value) {
			invalid(name, "must be 1 to 64 letters, digits, dots, dashes and underscores", value)
		}
	}
	named("MODAL_APP", c.ModalApp)
	if c.ModalEnvironment != "" {
		named("MODAL_ENVIRONMENT", c.ModalEnvironment)
	}
	return errors.Join(errs...)
}

// checkGitHub: where GitHub is, told in one way.
func (c *Config) checkGitHub() error {
	const api, domain = "GITHUB_API_URL", "GITHUB_ENTERPRISE_DOMAIN"
	var errs []error
	if c.GHESDomain != "" {
		errs = append(errs, config.CheckHost(domain, c.GHESDomain))
	}
	if c.GHESDomain != "" && c.GitHubURL != nil {
		errs = append(errs, config.Invalid(domain, "must not be set together with GITHUB_API_URL", c.GHESDomain))
	}
	if u := c.GitHubURL; u != nil { // Of a server any path may be right, behind a proxy.
		if its := (&Config{GHESDomain: u.Host}).apiURL(); its.Path == "" && !strings.EqualFold(u.Host, its.Host) {
			errs = append(errs, config.Invalid(api, "must be of the API, "+its.String()+", not of the pages", u.String()))
		}
	}
	return errors.Join(errs...)
}

// sharesRunners reports whether an organization's repositories have runners in common.
func (c *Config) sharesRunners() bool { return c.RunnerScope != forge.ScopeRepo }

// checkEnterprise: its runners need its name, and GitHub gives them to no App.
func (c *Config) checkEnterprise() error {
	const enterprise, scope, appID = "RUNNER_ENTERPRISE", "RUNNER_SCOPE", "GITHUB_APP_ID"
	is := c.RunnerScope == forge.ScopeEnterprise
	switch {
	case is && c.Enterprise == "":
		return config.Broken("is required with RUNNER_SCOPE=enterprise", enterprise, scope)
	case !is && c.Enterprise != "":
		return config.Invalid(enterprise, "must not be set without RUNNER_SCOPE=enterprise", c.Enterprise, scope)
	case is && !slugForm.MatchString(c.Enterprise):
		return config.Invalid(enterprise, "must be the enterprise's name in URLs: letters, digits, dashes and underscores", c.Enterprise)
	case is && len(c.AppIDs) > 0:
		return config.Broken("must not be set with RUNNER_SCOPE=enterprise: GitHub lets no App register runners of enterprises, a GITHUB_TOKEN must",
			appID, scope)
	}
	return nil
}

// checkGroup: only organizations and enterprises have groups of their own to name, and a group is told in one way.
func (c *Config) checkGroup() error {
	const group, id, scope = "RUNNER_GROUP", "RUNNER_GROUP_ID", "RUNNER_SCOPE"
	var errs []error
	if c.RunnerGroup != "" && c.RunnerScope == forge.ScopeRepo {
		errs = append(errs, config.Invalid(group, "must not be set without RUNNER_SCOPE=org or enterprise", c.RunnerGroup, scope))
	}
	if c.RunnerGroup != "" && c.RunnerGroupID != 0 {
		errs = append(errs, config.Invalid(group, "must not be set together with RUNNER_GROUP_ID", c.RunnerGroup, id))
	}
	return errors.Join(errs...)
}

// checkGitHubLogin: Apps or a token, and all that belongs to them. Beside a token nothing of an App is missing: it is too much.
func (c *Config) checkGitHubLogin() error {
	const appID, appKey, token = "GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY", "GITHUB_TOKEN" //nolint:gosec // names of variables
	hasApp, hasKey, hasToken := len(c.AppIDs) > 0, !c.AppKey.Get().IsZero(), !c.GitHubToken.Get().IsZero()
	keys := keysIn(c.AppKey.Get())
	var errs []error
	broken := func(isBroken bool, rule, name string, others ...string) {
		if isBroken {
			errs = append(errs, config.Broken(rule, name, others...))
		}
	}
	for n, id := range c.AppIDs {
		if id < 1 || slices.Contains(c.AppIDs[:n], id) {
			errs = append(errs, config.Invalid(appID, "must be ids of Apps, each once", strconv.FormatInt(id, 10)))
		}
	}
	broken(hasKey && (len(keys) == 0 || slices.ContainsFunc(keys, func(k config.Secret) bool { return !isRSAKey(k) })),
		"must be the PEM file that GitHub made for the App", appKey)
	broken(hasApp && len(keys) > 0 && len(keys) != len(c.AppIDs),
		fmt.Sprintf("must have one key for each id in GITHUB_APP_ID: %d, not %d", len(c.AppIDs), len(keys)), appKey, appID)
	broken(hasApp && !hasKey && !hasToken, "is required with GITHUB_APP_ID (or GITHUB_APP_PRIVATE_KEY_FILE)", appKey, appID)
	broken(hasKey && !hasApp && !hasToken, "is required with GITHUB_APP_PRIVATE_KEY", appID, appKey)
	broken(hasApp && hasToken, "must not be set together with GITHUB_APP_ID", token, appID)
	broken(hasKey && !hasApp && hasToken, "must not be set together with GITHUB_APP_PRIVATE_KEY", token, appKey)
	broken(!hasApp && !hasKey && !hasToken,
		"one of GITHUB_APP_ID (with GITHUB_APP_PRIVATE_KEY) or GITHUB_TOKEN is required", appID, appKey, token)
	return errors.Join(errs...)
}

// apps are the configured Apps, each with its part of the key file, which may be rotated. If a part is missing then, the App's key
// is empty, and what needs it waits.
func (c *Config) apps() []forge.App {
	var apps []forge.App
	for n, id := range c.AppIDs {
		apps = append(apps, forge.App{ID: id, Key: func() config.Secret {
			if keys := keysIn(c.AppKey.Get()); n < len(keys) {
				return keys[n]
			}
			return config.Secret{}
		}})
	}
	return apps
}

// keysIn are the PEM blocks of a text.
func keysIn(text config.Secret) (keys []config.Secret) {
	for rest := []byte(text.Reveal()); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return keys
		}
		keys = append(keys, config.NewSecret(string(pem.EncodeToMemory(block))))
	}
}

// isRSAKey reports whether the PEM block is a key in one of the forms that GitHub's Apps use.
func isRSAKey(key config.Secret) bool {
	block, _ := pem.Decode([]byte(key.Reveal()))
	if block == nil {
		return false
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return true
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	_, isRSA := parsed.(*rsa.PrivateKey)
	return err == nil && isRSA
}

// publicAPI is the host of the REST API of github.com.
const publicAPI = "api.github.com"

// apiURL is where GitHub's REST API is, without a trailing slash.
func (c *Config) apiURL() *url.URL {
	u := &url.URL{Scheme: "https", Host: publicAPI}
	switch domain := strings.ToLower(c.GHESDomain); {
	case domain == "github.com", domain == publicAPI: // Neither has the paths of a server.
	case strings.HasSuffix(domain, ".ghe.com"):
		u = &url.URL{Scheme: "https", Host: "api." + strings.TrimPrefix(domain, "api.")}
	case c.GHESDomain != "":
		u = &url.URL{Scheme: "https", Host: c.GHESDomain, Path: "/api/v3"}
	case c.GitHubURL != nil:
		u = c.GitHubURL
	}
	trimmed := *u
	trimmed.Path = strings.TrimSuffix(trimmed.Path, "/")
	return &trimmed
}

// publicURL is the API of github.com if GitHub is another one, and else nil. What is asked without encryption is the simulator: it knows
// all that it needs.
func (c *Config) publicURL() *url.URL {
	if u := c.apiURL(); u.Scheme != "https" || strings.EqualFold(u.Host, publicAPI) {
		return nil
	}
	return &url.URL{Scheme: "https", Host: publicAPI}
}
