// Package control is the side door of the simulated GitHub: what a person would click or push, and what a test wants to
// see, as JSON over HTTP. Nothing that a service under test uses may live here; the door is for tests, scenarios and
// the demo. Go callers use the methods of fakegithub.GitHub and its World directly.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/fakegithub/checks"
	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
	"modal-github-runner/services/simulator/internal/fakegithub/ratelimit"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

const maxBody = 8 << 20 // a scenario's largest dispatch, with room

// Prefix is below which every path of the handler lies.
const Prefix = "/control/github"

type server struct{ gh *fakegithub.GitHub }

var errRequest = errors.New("bad request")

// New makes the handler:
//
//	POST {Prefix}/owners            {"login","org","enterprise"}          -> world.Owner
//	POST {Prefix}/repos             {"owner","name","private"}            -> world.Repo
//	POST {Prefix}/groups            {"owner","name"}                      -> {"id"}
//	POST {Prefix}/installations     {"owner","repos"}                     -> world.Installation
//	POST {Prefix}/hooks             {"kind","owner","repo","url","secret"} -> hooks.Hook
//	POST {Prefix}/runs              world.Workflow                        -> {"run","jobs"}
//	POST {Prefix}/runs/{id}/cancel, {Prefix}/jobs/{id}/cancel, {Prefix}/jobs/{id}/approve
//	POST {Prefix}/runs/{id}/rerun                                         -> {"run","jobs"}
//	POST {Prefix}/releases          {"version","minimum"}: publish a runner, refuse those below minimum
//	PUT  {Prefix}/faults            [fault.Rule]
//	GET  {Prefix}/state                                                   -> State
//	GET  {Prefix}/accepted                                                -> hooks.Hooks.Accepted
//
// Errors are {"error"} with 400, 404 or 409.
func New(gh *fakegithub.GitHub) http.Handler {
	s, mux := server{gh: gh}, http.NewServeMux()
	for pattern, do := range map[string]func(*http.Request) (any, error){
		"POST " + Prefix + "/owners":            s.owner,
		"POST " + Prefix + "/repos":             s.repo,
		"POST " + Prefix + "/groups":            s.group,
		"POST " + Prefix + "/installations":     s.install,
		"POST " + Prefix + "/hooks":             s.hook,
		"POST " + Prefix + "/runs":              s.dispatch,
		"POST " + Prefix + "/runs/{id}/cancel":  onID(gh.World.CancelRun),
		"POST " + Prefix + "/jobs/{id}/cancel":  onID(gh.World.CancelJob),
		"POST " + Prefix + "/jobs/{id}/approve": onID(gh.World.Approve),
		"POST " + Prefix + "/runs/{id}/rerun":   s.rerun,
		"POST " + Prefix + "/releases":          s.release,
		"PUT " + Prefix + "/faults":             s.faults,
		"GET " + Prefix + "/state":              func(*http.Request) (any, error) { return Read(gh), nil },
		"GET " + Prefix + "/accepted":           func(*http.Request) (any, error) { return gh.Hooks.Accepted(), nil },
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			body, err := do(r)
			reply(w, body, err)
		})
	}
	return mux
}

func reply(w http.ResponseWriter, body any, err error) {
	status := http.StatusOK
	if err != nil {
		body = map[string]string{"error": err.Error()}
		switch {
		case errors.Is(err, world.ErrNotFound):
			status = http.StatusNotFound
		case errors.Is(err, world.ErrExists), errors.Is(err, world.ErrState):
			status = http.StatusConflict
		default:
			status = http.StatusBadRequest
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the only error is a client that went away
}

// decode is strict: an unknown key is a typo in a scenario.
func decode[T any](r *http.Request) (T, error) {
	var in T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return in, fmt.Errorf("%w: %w", errRequest, err)
	}
	return in, nil
}

func pathID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: id: must be a number (got %q)", errRequest, r.PathValue("id"))
	}
	return id, nil
}

func onID(do func(int64) error) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		id, err := pathID(r)
		if err != nil {
			return nil, err
		}
		return struct{}{}, do(id)
	}
}

func (s server) owner(r *http.Request) (any, error) {
	in, err := decode[struct {
		Login      string `json:"login"`
		Org        bool   `json:"org"`
		Enterprise string `json:"enterprise"`
	}](r)
	if err != nil {
		return nil, err
	}
	made, err := s.gh.World.AddOwner(in.Login, in.Org)
	if err != nil || in.Enterprise == "" {
		return made, err
	}
	return s.gh.World.Join(in.Login, in.Enterprise)
}

func (s server) repo(r *http.Request) (any, error) {
	in, err := decode[struct {
		Owner   string `json:"owner"`
		Name    string `json:"name"`
		Private bool   `json:"private"`
	}](r)
	if err != nil {
		return nil, err
	}
	return s.gh.World.AddRepo(in.Owner, in.Name, in.Private)
}

func (s server) group(r *http.Request) (any, error) {
	in, err := decode[struct {
		Owner string `json:"owner"`
		Name  string `json:"name"`
	}](r)
	if err != nil {
		return nil, err
	}
	id, err := s.gh.World.AddGroup(in.Owner, in.Name)
	return map[string]int64{"id": id}, err
}

func (s server) install(r *http.Request) (any, error) {
	in, err := decode[struct {
		Owner string   `json:"owner"`
		Repos []string `json:"repos"`
	}](r)
	if err != nil {
		return nil, err
	}
	return s.gh.World.Install(in.Owner, in.Repos...)
}

func (s server) hook(r *http.Request) (any, error) {
	in, err := decode[struct {
		Kind   hooks.Kind `json:"kind"`
		Owner  string     `json:"owner"`
		Repo   string     `json:"repo"`
		URL    string     `json:"url"`
		Secret string     `json:"secret"`
	}](r)
	if err != nil {
		return nil, err
	}
	switch in.Kind {
	case hooks.App:
		return s.gh.AddAppHook(in.URL, in.Secret), nil
	case hooks.Enterprise:
		return s.gh.AddEnterpriseHook(in.Owner, in.URL, in.Secret)
	case hooks.Organization:
		return s.gh.AddOrgHook(in.Owner, in.URL, in.Secret)
	case hooks.Repository:
		return s.gh.AddRepoHook(in.Owner, in.Repo, in.URL, in.Secret)
	default:
		return nil, fmt.Errorf("%w: kind: must be integration, enterprise, organization or repository (got %q)", errRequest, in.Kind)
	}
}

// Started is the answer to a dispatch and to a re-run.
type Started struct {
	Run  world.Run   `json:"run"`
	Jobs []world.Job `json:"jobs"`
}

func (s server) dispatch(r *http.Request) (any, error) {
	in, err := decode[world.Workflow](r)
	if err != nil {
		return nil, err
	}
	run, jobs, err := s.gh.World.Dispatch(in)
	return Started{Run: run, Jobs: jobs}, err
}

func (s server) rerun(r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	run, jobs, err := s.gh.World.Rerun(id)
	return Started{Run: run, Jobs: jobs}, err
}

func (s server) release(r *http.Request) (any, error) {
	in, err := decode[struct {
		Version string `json:"version"`
		Minimum string `json:"minimum"`
	}](r)
	if err != nil {
		return nil, err
	}
	if in.Version != "" {
		s.gh.PublishRunner(in.Version)
	}
	s.gh.World.RequireVersion(in.Minimum)
	return struct{}{}, nil
}

func (s server) faults(r *http.Request) (any, error) {
	rules, err := decode[[]fault.Rule](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.gh.Faults.Set(rules)
}

// State is all that can be seen of the simulated GitHub. It holds no secret.
type State struct {
	Jobs       []world.Job     `json:"jobs"`
	Runners    []world.Runner  `json:"runners"`
	Hooks      []hooks.Hook    `json:"hooks"`
	Deliveries hooks.Stats     `json:"deliveries"`
	API        ratelimit.Stats `json:"api"`
	Faults     map[string]int  `json:"faults"` // strikes by operation
	CheckRuns  []checks.Run    `json:"check_runs"`
}

// Read takes the state.
func Read(gh *fakegithub.GitHub) State {
	return State{
		Jobs: gh.World.Jobs(), Runners: gh.World.Runners(world.Scope{}), Hooks: gh.Hooks.List(), Deliveries: gh.Hooks.Stats(),
		API: gh.APIStats(), Faults: gh.Faults.Strikes(), CheckRuns: gh.CheckRuns(),
	}
}
