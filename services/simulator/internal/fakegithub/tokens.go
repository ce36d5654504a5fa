package fakegithub

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"modal-github-runner/services/simulator/internal/fakegithub/access"
	"modal-github-runner/services/simulator/internal/fakegithub/reply"
	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/world"
)

type tokenRequest struct {
	Repositories  []string          `json:"repositories"`
	RepositoryIDs []int64           `json:"repository_ids"`
	Permissions   map[string]string `json:"permissions"`
}

// accessToken serves POST /app/installations/{installation_id}/access_tokens.
func accessToken(c *call) (answer, error) {
	inst, err := c.installation()
	if err != nil {
		return answer{}, err
	}
	var in tokenRequest
	if err := json.NewDecoder(c.Body).Decode(&in); err != nil && !errors.Is(err, io.EOF) {
		return answer{}, reply.Fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	repos := c.gh.World.Repos(inst.Owner)
	repos = slices.DeleteFunc(repos, func(r world.Repo) bool { return !inst.Covers(r) })
	if wanted := in.Repositories; len(wanted) > 0 || len(in.RepositoryIDs) > 0 {
		repos = slices.DeleteFunc(repos, func(r world.Repo) bool {
			return !slices.ContainsFunc(wanted, func(n string) bool { return strings.EqualFold(n, r.Name) }) && !slices.Contains(in.RepositoryIDs, r.ID)
		})
		if len(repos) != len(wanted)+len(in.RepositoryIDs) {
			return answer{}, reply.Fail(http.StatusUnprocessableEntity,
				"There is at least one repository that does not exist or is not accessible to the parent installation.")
		}
		inst.Repos = nil
		for _, r := range repos {
			inst.Repos = append(inst.Repos, r.Name)
		}
	}
	permissions := c.gh.permissions
	if in.Permissions != nil {
		permissions = in.Permissions
		for name, level := range permissions {
			if granted := c.gh.permissions[name]; granted != "write" && granted != level {
				return answer{}, reply.Fail(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			}
		}
	}
	token, expires := c.gh.desk.Issue(access.Grant{Installation: inst, Permissions: permissions})
	body := shape.Object{
		"token": token, "expires_at": shape.Time(expires), "permissions": permissions, "repository_selection": "all",
	}
	if len(inst.Repos) > 0 {
		body["repository_selection"] = "selected"
	}
	return answer{status: http.StatusCreated, body: body}, nil
}

// installations are those of the App that calls.
func (c *call) installations() []world.Installation {
	all := c.gh.World.Installations()
	for n := range all {
		all[n].App = cmp.Or(all[n].App, c.gh.appID)
	}
	return slices.DeleteFunc(all, func(i world.Installation) bool { return i.App != c.who.App })
}

func (c *call) installation() (world.Installation, error) {
	id, err := c.id("installation_id")
	if err != nil {
		return world.Installation{}, err
	}
	for _, i := range c.installations() {
		if i.ID == id {
			return i, nil
		}
	}
	return world.Installation{}, errNotFound
}

// rateLimit serves GET /rate_limit, which is free of the hourly budget.
func rateLimit(c *call) (answer, error) {
	core := c.gh.limits.Budget(c.who.Caller())
	out := shape.Object{"limit": core["Limit"], "remaining": core["Remaining"], "used": core["Used"], "reset": core["Reset"]}
	other := func(limit int) shape.Object {
		return shape.Object{"limit": limit, "remaining": limit, "used": 0, "reset": core["Reset"]}
	}
	return ok(shape.Object{"rate": out, "resources": shape.Object{
		"core": out, "search": other(30), "graphql": other(5000), "actions_runner_registration": other(10000),
	}})
}
