// Package fakegithub is a GitHub that runs on this machine: the part of the REST API that serves self-hosted runners,
// with its authentication, limits, errors and headers. What it answers comes from package world; the webhooks go out
// through hooks, and runner programs come in through runnerservice.
//
// A client must not be able to tell it from GitHub as far as those calls go. So nothing here may be friendlier than
// GitHub is, and no code may be shared with the services under test: a shared mistake would hide itself.
//
// Answers follow GitHub's OpenAPI description; what that leaves open follows observed behaviour.
package fakegithub

import (
	"cmp"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"modal-github-runner/services/simulator/internal/actionsrunner"
	"modal-github-runner/services/simulator/internal/fakegithub/access"
	"modal-github-runner/services/simulator/internal/fakegithub/checks"
	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
	"modal-github-runner/services/simulator/internal/fakegithub/ratelimit"
	"modal-github-runner/services/simulator/internal/fakegithub/runnerservice"
	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// Options of New. Only AppKey or Tokens must be given, or nobody can log in.
type Options struct {
	// Seed decides all chance: which runner gets a job, and which operation a fault strikes.
	Seed uint64
	// Timing overrides GitHub's time limits.
	Timing world.Timing
	// AppID and AppKey identify the App with the webhook; its requests are signed with the private half of AppKey.
	AppID  int64
	AppKey *rsa.PublicKey
	// MoreApps are others, by id, which have no webhook.
	MoreApps map[int64]*rsa.PublicKey
	// Permissions that the App's installations grant; default: what runners of repositories and organizations need.
	Permissions map[string]string
	// TokenLife is how long an installation token is valid; default 1 h, as GitHub's.
	TokenLife time.Duration
	// Tokens are personal access tokens that may do everything.
	Tokens []string
	// Limits of the API; default GitHub's.
	Limits ratelimit.Limits
	// RunnerVersion is the newest release of the runner; default actionsrunner.Version.
	RunnerVersion string
	// RunnerExe is what the released runner's run.sh executes; default "simulator", found by PATH.
	RunnerExe string
	// Links are the URLs in webhooks; default github.com's. REST answers link to the address that was called.
	Links shape.Links
	// Transport sends the webhooks; default one of its own.
	Transport http.RoundTripper
	// Log gets what no answer tells; default none.
	Log *slog.Logger
}

// DefaultPermissions are what an App for runners asks for.
func DefaultPermissions() map[string]string {
	return map[string]string{
		"actions": "read", "administration": "write", "checks": "write", "metadata": "read", "organization_self_hosted_runners": "write",
		"organization_hooks": "write", "repository_hooks": "write",
	}
}

// GitHub is one simulated GitHub. Close it at the end.
type GitHub struct {
	World  *world.World
	Hooks  *hooks.Hooks
	Faults *fault.Injector

	appID       int64
	permissions map[string]string
	desk        *access.Desk
	limits      *ratelimit.Limiter
	archive     []byte
	checks      checks.Checks
	since       time.Time
	handler     http.Handler

	mu       sync.Mutex
	releases []release // newest last
}

// New makes a GitHub without owners. The error names the option that is wrong.
func New(o Options) (*GitHub, error) {
	if o.AppKey == nil && len(o.Tokens) == 0 {
		return nil, errors.New("AppKey, Tokens: one of the two must be given (got neither)")
	}
	if o.AppKey != nil && o.AppID <= 0 {
		return nil, fmt.Errorf("AppID: must be positive with an AppKey (got %d)", o.AppID)
	}
	archive, err := actionsrunner.Archive(cmp.Or(o.RunnerExe, "simulator"))
	if err != nil {
		return nil, fmt.Errorf("runner release: %w", err)
	}
	if o.Permissions == nil {
		o.Permissions = DefaultPermissions()
	}
	if o.Links == (shape.Links{}) {
		o.Links = shape.Public()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	faults := fault.New(o.Seed)
	sender := hooks.New(hooks.Options{Links: o.Links, Faults: faults, Transport: o.Transport, Log: o.Log})
	g := &GitHub{
		World:  world.New(world.Options{Seed: o.Seed, Timing: o.Timing, Listener: sender.JobEvent}),
		Hooks:  sender,
		Faults: faults,
		desk: access.New(access.Options{
			Apps: o.apps(), Personal: o.Tokens, TokenLife: cmp.Or(o.TokenLife, time.Hour),
		}),
		appID: o.AppID, permissions: o.Permissions, limits: ratelimit.New(o.Limits), archive: archive, since: time.Now(),
	}
	g.PublishRunner(cmp.Or(o.RunnerVersion, actionsrunner.Version))
	mux := http.NewServeMux()
	api := g.routes()
	mux.Handle(runnerservice.Prefix+"/", runnerservice.New(g.World, faults))
	mux.Handle(enterprisePrefix+"/", http.StripPrefix(enterprisePrefix, api))
	mux.Handle("/", api)
	g.handler = mux
	return g, nil
}

// apps are the keys of all Apps, by id.
func (o Options) apps() map[int64]*rsa.PublicKey {
	apps := maps.Clone(o.MoreApps)
	if apps == nil {
		apps = map[int64]*rsa.PublicKey{}
	}
	if o.AppKey != nil {
		apps[o.AppID] = o.AppKey
	}
	return apps
}

// ServeHTTP serves the REST API, at / and at /api/v3/, and the runner service.
func (g *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// Close ends runner sessions and waits for the webhooks that are under way; what is queued is not sent.
func (g *GitHub) Close() {
	g.World.Close()
	g.Hooks.Close()
}

// AddAppHook sets where the App's webhooks go.
func (g *GitHub) AddAppHook(url, secret string) hooks.Hook {
	return g.Hooks.Add(hooks.Hook{Kind: hooks.App, TargetID: g.appID, URL: url, Secret: secret})
}

// AddEnterpriseHook adds a webhook of an enterprise, which tells of all its organizations. The error wraps world.ErrNotFound.
func (g *GitHub) AddEnterpriseHook(slug, url, secret string) (hooks.Hook, error) {
	if !g.World.Enterprise(slug) {
		return hooks.Hook{}, fmt.Errorf("enterprise %q: %w", slug, world.ErrNotFound)
	}
	return g.Hooks.Add(hooks.Hook{Kind: hooks.Enterprise, Target: slug, TargetID: shape.EnterpriseID(slug), URL: url, Secret: secret}), nil
}

// AddOrgHook adds a webhook of an organization. The error wraps world.ErrNotFound.
func (g *GitHub) AddOrgHook(org, url, secret string) (hooks.Hook, error) {
	o, ok := g.World.Owner(org)
	if !ok || !o.Org {
		return hooks.Hook{}, fmt.Errorf("organization %q: %w", org, world.ErrNotFound)
	}
	return g.Hooks.Add(hooks.Hook{Kind: hooks.Organization, Target: o.Login, TargetID: o.ID, URL: url, Secret: secret}), nil
}

// AddRepoHook adds a webhook of a repository. The error wraps world.ErrNotFound.
func (g *GitHub) AddRepoHook(owner, repo, url, secret string) (hooks.Hook, error) {
	r, ok := g.World.Repo(owner, repo)
	if !ok {
		return hooks.Hook{}, fmt.Errorf("repository %q: %w", owner+"/"+repo, world.ErrNotFound)
	}
	return g.Hooks.Add(hooks.Hook{Kind: hooks.Repository, Target: r.FullName(), TargetID: r.ID, URL: url, Secret: secret}), nil
}

// APIStats reads what was asked of the API since the start.
func (g *GitHub) APIStats() ratelimit.Stats { return g.limits.Stats() }
