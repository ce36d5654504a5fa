package fakegithub

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
	"modal-github-runner/services/simulator/internal/fakegithub/reply"
	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/world"
)

const appSlug = "modal-github-runner"

// getApp serves GET /app.
func getApp(c *call) (answer, error) { return ok(c.renderApp(c.who.App, appSlug)) }

func (c *call) renderApp(id int64, slug string) shape.Object {
	page := c.links.HTML + "/apps/" + slug
	return shape.Object{
		"id": id, "slug": slug, "node_id": shape.NodeID("App", id), "name": slug, "description": nil, "owner": c.links.Sender(),
		"external_url": page, "html_url": page, "permissions": c.gh.permissions, "events": []string{"workflow_job"},
		"created_at": shape.Time(c.gh.since), "updated_at": shape.Time(c.gh.since),
	}
}

func (c *call) renderInstallation(i world.Installation) shape.Object {
	owner, _ := c.gh.World.Owner(i.Owner)
	account := c.links.Owner(owner)
	selection := "all"
	if len(i.Repos) > 0 {
		selection = "selected"
	}
	api := c.links.API + "/app/installations/" + strconv.FormatInt(i.ID, 10)
	return shape.Object{
		"id": i.ID, "account": account, "repository_selection": selection, "access_tokens_url": api + "/access_tokens",
		"repositories_url": c.links.API + "/installation/repositories", "html_url": c.links.HTML + "/settings/installations/" + strconv.FormatInt(i.ID, 10),
		"app_id": i.App, "app_slug": appSlug, "target_id": owner.ID, "target_type": account["type"],
		"permissions": c.gh.permissions, "events": []string{"workflow_job"}, "single_file_name": nil,
		"created_at": shape.Time(i.CreatedAt), "updated_at": shape.Time(i.CreatedAt), "suspended_by": nil, "suspended_at": nil,
	}
}

// listInstallations serves GET /app/installations.
func listInstallations(c *call) (answer, error) {
	some, link := page(c, c.installations())
	out := make([]shape.Object, len(some))
	for n, i := range some {
		out[n] = c.renderInstallation(i)
	}
	return answer{status: http.StatusOK, link: link, body: out}, nil
}

// getInstallation serves GET /app/installations/{installation_id}.
func getInstallation(c *call) (answer, error) {
	i, err := c.installation()
	if err != nil {
		return answer{}, err
	}
	return ok(c.renderInstallation(i))
}

// findInstallation serves GET .../installation of a repository, an organization or a user.
func findInstallation(c *call) (answer, error) {
	owner := c.PathValue("owner") + c.PathValue("org") + c.PathValue("user")
	for _, i := range c.installations() {
		found := strings.EqualFold(i.Owner, owner)
		if name := c.PathValue("repo"); found && name != "" {
			repo, known := c.gh.World.Repo(owner, name)
			found = known && i.Covers(repo)
		}
		if found {
			return ok(c.renderInstallation(i))
		}
	}
	return answer{}, errNotFound
}

// hook finds the hook that the path names, as far as the caller may see it. The App has one.
func (c *call) hook() (int64, error) {
	found, err := c.hooks()
	if err != nil {
		return 0, err
	}
	for _, h := range found {
		if h.Kind == hooks.App || strconv.FormatInt(h.ID, 10) == c.PathValue("hook_id") {
			return h.ID, nil
		}
	}
	return 0, errNotFound
}

// cursorMark makes a cursor look as opaque as GitHub's.
const cursorMark = "v1_"

// listDeliveries serves GET .../deliveries of a hook, newest first.
func listDeliveries(c *call) (answer, error) {
	hook, err := c.hook()
	if err != nil {
		return answer{}, err
	}
	q := hooks.Query{Hook: hook, Limit: c.perPage(), Status: c.URL.Query().Get("status")}
	if q.Status != "" && q.Status != "success" && q.Status != "failure" {
		return answer{}, reply.Fail(http.StatusUnprocessableEntity, "Invalid status: must be success or failure (got %q)", q.Status)
	}
	if cursor := c.URL.Query().Get("cursor"); cursor != "" {
		q.From, err = strconv.ParseInt(strings.TrimPrefix(cursor, cursorMark), 10, 64)
		if err != nil {
			return answer{}, reply.Fail(http.StatusBadRequest, "Invalid cursor")
		}
	}
	out, next := c.gh.Hooks.Deliveries(q)
	link := ""
	if next != 0 {
		link = c.linkTo("next", "cursor", cursorMark+strconv.FormatInt(next, 10))
	}
	return answer{status: http.StatusOK, body: out, link: link}, nil
}

// getDelivery serves GET .../deliveries/{delivery_id}.
func getDelivery(c *call) (answer, error) {
	hook, id, err := c.delivery()
	if err != nil {
		return answer{}, err
	}
	out, err := c.gh.Hooks.Delivery(hook, id)
	if errors.Is(err, hooks.ErrNotFound) {
		return answer{}, errNotFound
	}
	if err != nil {
		return answer{}, err
	}
	return ok(out)
}

// redeliver serves POST .../deliveries/{delivery_id}/attempts.
func redeliver(c *call) (answer, error) {
	hook, id, err := c.delivery()
	if err != nil {
		return answer{}, err
	}
	if err := c.gh.Hooks.Redeliver(hook, id); err != nil {
		return answer{}, errNotFound
	}
	return answer{status: http.StatusAccepted, body: shape.Object{}}, nil
}

func (c *call) delivery() (hook, id int64, err error) {
	if hook, err = c.hook(); err != nil {
		return 0, 0, err
	}
	id, err = c.id("delivery_id")
	return hook, id, err
}
