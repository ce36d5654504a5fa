package forge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// errNoApp says that only an App can ask for its webhook's deliveries.
var errNoApp = errors.New("GITHUB_APP_ID: must be set to read the deliveries of an App's webhook")

const (
	// jobEvent is the name of the webhook event that tells of jobs.
	jobEvent = "workflow_job"
	// ingressPath is where ingress listens for webhooks; a proxy before it may have put more in front.
	ingressPath = "/webhooks/github"
	// hookAdvice names what GitHub asks for (docs.github.com, REST API endpoints for repository and organization webhooks). It
	// says 404 to those who may not see.
	hookAdvice = "it does not exist, or the App or token lacks the permission Webhooks of the repository or organization, " +
		"read to list and write to deliver again (classic tokens: admin:repo_hook, admin:org_hook)"
)

// Hook is a webhook at GitHub: a repository's; an organization's if Repo is empty; the App's if all is zero.
type Hook struct {
	Owner, Repo string
	ID          int64
}

func (h Hook) String() string {
	switch {
	case h == Hook{}:
		return "the App's hook"
	case h.Repo == "":
		return fmt.Sprintf("hook %d of %s", h.ID, h.Owner)
	}
	return fmt.Sprintf("hook %d of %s/%s", h.ID, h.Owner, h.Repo)
}

// Delivery is one attempt of GitHub's to send us an event.
type Delivery struct {
	// ID is the attempt's. GUID is the event's, which all attempts have in common; a webhook carries it.
	ID   int64
	GUID string
	// Repo is the id of the repository that the event is about; zero if it is about none.
	Repo int64
	// Event and Action are those of the webhook, such as workflow_job and queued.
	Event, Action string
	// Status is GitHub's word for the outcome, for people.
	Status string
	// OK says that we answered with 2xx. It is told by the status code on our side: GitHub's own filter for failures goes
	// by codes from 400, and an attempt that could not connect has none.
	OK bool
	// Unreadable says that the answer was 400.
	Unreadable bool
	At         time.Time
	Redelivery bool
}

// Deliveries lists the deliveries of a hook at or after since, newest first. The list is complete as far as GitHub
// remembers, which is three days, or there is an error.
func (f *Forge) Deliveries(ctx context.Context, hook Hook, since time.Time) ([]Delivery, error) {
	var all []Delivery
	opts := &github.ListCursorOptions{PerPage: pageSize}
	for {
		var found []*github.HookDelivery
		err := f.callHook(ctx, hook, func(ctx context.Context, c *github.Client) error {
			var resp *github.Response
			var err error
			switch {
			case hook == Hook{}:
				found, resp, err = c.Apps.ListHookDeliveries(ctx, opts)
			case hook.Repo == "":
				found, resp, err = c.Organizations.ListHookDeliveries(ctx, hook.Owner, hook.ID, opts)
			default:
				found, resp, err = c.Repositories.ListHookDeliveries(ctx, hook.Owner, hook.Repo, hook.ID, opts)
			}
			if err == nil {
				opts.Cursor = resp.Cursor
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list deliveries of %s: %w", hook, err)
		}
		before := len(all)
		for _, d := range found {
			if at := d.GetDeliveredAt().Time; !at.Before(since) {
				all = append(all, deliveryOf(d))
			}
		}
		if opts.Cursor == "" || len(all) == before { // The last page, or one that is too old, as all after it are.
			break
		}
	}
	slices.SortStableFunc(all, func(a, b Delivery) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID))
	})
	return all, nil
}

// Redeliver has GitHub send the event of a delivery again. It returns once GitHub has accepted to do so; the outcome is a
// new delivery with the same GUID.
func (f *Forge) Redeliver(ctx context.Context, hook Hook, id int64) error {
	err := f.callHook(ctx, hook, func(ctx context.Context, c *github.Client) error {
		var err error
		switch {
		case hook == Hook{}:
			_, _, err = c.Apps.RedeliverHookDelivery(ctx, id)
		case hook.Repo == "":
			_, _, err = c.Organizations.RedeliverHookDelivery(ctx, hook.Owner, hook.ID, id)
		default:
			_, _, err = c.Repositories.RedeliverHookDelivery(ctx, hook.Owner, hook.Repo, hook.ID, id)
		}
		if _, accepted := errors.AsType[*github.AcceptedError](err); accepted {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("redeliver %d of %s: %w", id, hook, err)
	}
	return nil
}

// Hooks lists the webhooks of a repository, or of an organization if repo is empty, by which events of jobs come to us: those
// that are active, send such events, and lead to where an ingress listens. At which host ours does is not known here. Should
// one lead to another deployment's ingress, or to a stranger who listens at the same path, then a redelivery goes there as
// well: it brings nobody an event that is not theirs, only one that they have missed. The error holds a run.PermanentError
// if the webhooks are not ours to see.
func (f *Forge) Hooks(ctx context.Context, owner, repo string) ([]Hook, error) {
	var ours []Hook
	opts := &github.ListOptions{Page: 1, PerPage: pageSize}
	for opts.Page != 0 {
		err := f.callHook(ctx, Hook{Owner: owner, Repo: repo}, func(ctx context.Context, c *github.Client) error {
			list := func() ([]*github.Hook, *github.Response, error) {
				return c.Repositories.ListHooks(ctx, owner, repo, opts)
			}
			if repo == "" {
				list = func() ([]*github.Hook, *github.Response, error) {
					return c.Organizations.ListHooks(ctx, owner, opts)
				}
			}
			found, resp, err := list()
			if err != nil {
				return err
			}
			for _, h := range found {
				if isOurs(h) {
					ours = append(ours, Hook{Owner: owner, Repo: repo, ID: h.GetID()})
				}
			}
			opts.Page = resp.NextPage
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list hooks of %s/%s: %w", owner, repo, err)
		}
	}
	return ours, nil
}

// isOurs reports whether a webhook brings the events of jobs to an ingress.
func isOurs(h *github.Hook) bool {
	address, err := url.Parse(h.GetConfig().GetURL())
	wanted := slices.Contains(h.Events, jobEvent) || slices.Contains(h.Events, "*")
	return err == nil && strings.HasSuffix(address.Path, ingressPath) && wanted && h.GetActive()
}

// callHook runs fn with the client that may see the hook: the App itself for its own, else an installation or the token.
func (f *Forge) callHook(ctx context.Context, hook Hook, fn func(context.Context, *github.Client) error) error {
	if (hook == Hook{}) {
		return f.callApp(ctx, fn)
	}
	err := f.call(ctx, run.Job{Owner: hook.Owner, Repo: hook.Repo}, fn)
	if p, ok := errors.AsType[*run.PermanentError](err); ok { // Of no use is what there is to say about runners.
		return fmt.Errorf("github: %w", &run.PermanentError{Err: p.Err, Advice: hookAdvice})
	}
	return err
}

func deliveryOf(d *github.HookDelivery) Delivery {
	code := d.GetStatusCode()
	return Delivery{
		ID: d.GetID(), GUID: d.GetGUID(), Repo: d.GetRepositoryID(), Event: d.GetEvent(), Action: d.GetAction(), Status: d.GetStatus(),
		OK: code >= http.StatusOK && code < http.StatusMultipleChoices, Unreadable: code == http.StatusBadRequest,
		At: d.GetDeliveredAt().Time, Redelivery: d.GetRedelivery(),
	}
}
