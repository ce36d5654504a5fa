package fakegithub

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"modal-github-runner/services/simulator/internal/actionsrunner/wire"
	"modal-github-runner/services/simulator/internal/fakegithub/reply"
	"modal-github-runner/services/simulator/internal/fakegithub/runnerservice"
	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/world"
)

// maxLabels is the most that one JIT configuration may ask for (GitHub's OpenAPI description).
const maxLabels = 100

// jitRequest has pointers where GitHub tells a missing key from an empty value.
type jitRequest struct {
	Name       *string  `json:"name"`
	GroupID    *int64   `json:"runner_group_id"`
	Labels     []string `json:"labels"`
	WorkFolder string   `json:"work_folder"`
}

func (in jitRequest) check() error {
	missing := ""
	switch {
	case in.Name == nil:
		missing = "name"
	case in.GroupID == nil:
		missing = "runner_group_id"
	case in.Labels == nil:
		missing = "labels"
	case *in.Name == "":
		return reply.Fail(http.StatusUnprocessableEntity, "Invalid input: name must not be empty")
	case len(in.Labels) < 1 || len(in.Labels) > maxLabels:
		return reply.Fail(http.StatusUnprocessableEntity, "Invalid input: labels must have 1 to %d items (got %d)", maxLabels, len(in.Labels))
	case slices.Contains(in.Labels, ""):
		return reply.Fail(http.StatusUnprocessableEntity, "Invalid input: labels must not be empty strings")
	}
	if missing != "" {
		return reply.Fail(http.StatusUnprocessableEntity, "Invalid input: object is missing required key: %s", missing)
	}
	return nil
}

// generateJIT serves POST .../actions/runners/generate-jitconfig.
func generateJIT(c *call) (answer, error) {
	scope, err := c.scope()
	if err != nil {
		return answer{}, err
	}
	in := jitRequest{WorkFolder: "_work"}
	if err := json.NewDecoder(c.Body).Decode(&in); err != nil {
		if _, wrongType := errors.AsType[*json.UnmarshalTypeError](err); wrongType {
			return answer{}, reply.Fail(http.StatusUnprocessableEntity, "Invalid input: %s", err)
		}
		return answer{}, reply.Fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	if err := in.check(); err != nil {
		return answer{}, err
	}
	reg, err := c.gh.World.Register(scope, *in.Name, *in.GroupID, in.Labels)
	switch {
	case errors.Is(err, world.ErrExists):
		return answer{}, reply.Fail(http.StatusConflict, "Already exists - A runner with the name %s already exists.", *in.Name)
	case errors.Is(err, world.ErrHostedGroup):
		return answer{}, reply.Fail(http.StatusForbidden, "Runners cannot be added to this runner group.")
	case err != nil:
		return answer{}, errNotFound
	}
	config, err := c.jitConfig(reg, in.WorkFolder)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: shape.Object{"runner": shape.Runner(reg.Runner), "encoded_jit_config": config}}, nil
}

func (c *call) jitConfig(reg world.Registration, workFolder string) (string, error) {
	service := runnerservice.Base(c.Request) + runnerservice.Prefix
	return wire.EncodeJIT(map[string]any{
		wire.SettingsFile: wire.Settings{
			AgentID: reg.Runner.ID, AgentName: reg.Runner.Name, PoolID: reg.Runner.GroupID, PoolName: reg.Runner.GroupName,
			Ephemeral: true, ServerURL: service, ServerURLV2: service, UseV2Flow: true, WorkFolder: workFolder,
			GitHubURL: c.links.HTML + "/" + reg.Runner.Scope.Path(),
		},
		wire.CredentialsFile: wire.Credentials{Scheme: "OAuth", Data: wire.CredentialsData{
			ClientID: fmt.Sprintf("runner-%d", reg.Runner.ID), AuthorizationURL: service + "/token", RequireFipsCryptography: "True",
		}},
		wire.KeyFile: wire.Key{
			D: reg.Secret, DP: rand.Text(), DQ: rand.Text(), Exponent: "AQAB", InverseQ: rand.Text(), Modulus: rand.Text(),
			P: rand.Text(), Q: rand.Text(),
		},
	})
}

// listRunners serves GET .../actions/runners.
func listRunners(c *call) (answer, error) {
	scope, err := c.scope()
	if err != nil {
		return answer{}, err
	}
	all := c.gh.World.Runners(scope)
	if name := c.URL.Query().Get("name"); name != "" {
		all = slices.DeleteFunc(all, func(r world.Runner) bool { return r.Name != name })
	}
	return list(c, "runners", all, shape.Runner), nil
}

// listGroups serves GET .../actions/runner-groups of an organization or an enterprise.
func listGroups(c *call) (answer, error) {
	scope, err := c.scope()
	if err != nil {
		return answer{}, err
	}
	render := func(g world.Group) shape.Object { return shape.Group(c.links.API, scope, g) }
	return list(c, "runner_groups", c.gh.World.Groups(scope), render), nil
}

// getRunner serves GET .../actions/runners/{runner_id}.
func getRunner(c *call) (answer, error) {
	scope, id, err := c.runner()
	if err != nil {
		return answer{}, err
	}
	r, found := c.gh.World.Runner(scope, id)
	if !found {
		return answer{}, errNotFound
	}
	return ok(shape.Runner(r))
}

// deleteRunner serves DELETE .../actions/runners/{runner_id}.
func deleteRunner(c *call) (answer, error) {
	scope, id, err := c.runner()
	if err != nil {
		return answer{}, err
	}
	r, found := c.gh.World.Runner(scope, id)
	if !found {
		return answer{}, errNotFound
	}
	switch err := c.gh.World.RemoveRunner(scope, id); {
	case errors.Is(err, world.ErrRunnerBusy):
		return answer{}, reply.Fail(http.StatusUnprocessableEntity, "Bad request - Runner %q is still running a job", r.Name)
	case err != nil:
		return answer{}, errNotFound
	}
	return answer{status: http.StatusNoContent}, nil
}

func (c *call) runner() (world.Scope, int64, error) {
	scope, err := c.scope()
	if err != nil {
		return world.Scope{}, 0, err
	}
	id, err := c.id("runner_id")
	return scope, id, err
}
