package fakegithub

import (
	"net/http"
	"strconv"

	"modal-github-runner/services/simulator/internal/fakegithub/access"
	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
	"modal-github-runner/services/simulator/internal/fakegithub/shape"
)

// hooks finds the hooks of the repository or organization that the path names, of the App itself if it is the caller.
func (c *call) hooks() ([]hooks.Hook, error) {
	kind, target := hooks.App, ""
	if c.who.Role != access.App {
		scope, err := c.scope()
		if err != nil {
			return nil, err
		}
		kind, target = hooks.Organization, scope.Owner
		if scope.Repo != "" {
			kind, target = hooks.Repository, scope.Owner+"/"+scope.Repo
		}
	}
	var found []hooks.Hook
	for _, h := range c.gh.Hooks.List() {
		if h.Kind == kind && h.Target == target && (kind != hooks.App || h.TargetID == c.who.App) {
			found = append(found, h)
		}
	}
	return found, nil
}

// listHooks serves GET .../hooks of a repository or an organization.
func listHooks(c *call) (answer, error) {
	found, err := c.hooks()
	if err != nil {
		return answer{}, err
	}
	some, link := page(c, found)
	out := make([]shape.Object, len(some))
	for n, h := range some {
		out[n] = c.renderHook(h)
	}
	return answer{status: http.StatusOK, link: link, body: out}, nil
}

func (c *call) renderHook(h hooks.Hook) shape.Object {
	config := shape.Object{"url": h.URL, "content_type": "json", "insecure_ssl": "0"}
	if h.Secret != "" {
		config["secret"] = "********"
	}
	kind, of := "Organization", "/orgs/"
	if h.Kind == hooks.Repository {
		kind, of = "Repository", "/repos/"
	}
	self := c.links.API + of + h.Target + "/hooks/" + strconv.FormatInt(h.ID, 10)
	out := shape.Object{
		"type": kind, "id": h.ID, "name": "web", "active": true, "events": []string{"workflow_job"}, "config": config,
		"created_at": shape.Time(h.CreatedAt), "updated_at": shape.Time(h.CreatedAt),
		"url": self, "ping_url": self + "/pings", "deliveries_url": self + "/deliveries",
	}
	if h.Kind == hooks.Repository {
		out["test_url"], out["last_response"] = self+"/test", c.lastResponse(h)
	}
	return out
}

// lastResponse is how the newest delivery went.
func (c *call) lastResponse(h hooks.Hook) shape.Object {
	newest, _ := c.gh.Hooks.Deliveries(hooks.Query{Hook: h.ID, Limit: 1})
	if len(newest) == 0 {
		return shape.Object{"code": nil, "status": "unused", "message": nil}
	}
	return shape.Object{"code": newest[0]["status_code"], "status": "active", "message": newest[0]["status"]}
}
