package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/control"
	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// requestTimeout is generous: the simulator answers within milliseconds unless the machine is very busy.
const requestTimeout = 30 * time.Second

// modalControl is below which the paths of Modal's side door lie.
const modalControl = "/control/modal"

// Simulator does what users of GitHub do, and sees all that GitHub and Modal see. It is safe for concurrent use.
type Simulator struct {
	GitHubURL, ModalURL string

	control string
	client  *http.Client
}

// addresses are what the simulator's log line has when it started.
type addresses struct {
	GitHub  string `json:"github"`
	Modal   string `json:"modal"`
	Control string `json:"control"`
}

func newSimulator(at addresses) *Simulator {
	return &Simulator{
		GitHubURL: at.GitHub, ModalURL: at.Modal, control: at.Control,
		client: &http.Client{Transport: &http.Transport{}, Timeout: requestTimeout},
	}
}

// ControlURL is that of the side door.
func (s *Simulator) ControlURL() string { return s.control }

func (s *Simulator) close() { s.client.CloseIdleConnections() }

// call sends in, if any, as JSON and decodes the answer into out, if any.
func (s *Simulator) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("simulator: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.control+path, &body)
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	answer, err := do(s.client, req)
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("simulator: answer to %s %s: %w", method, path, err)
	}
	return nil
}

func (s *Simulator) post(ctx context.Context, path string, in any) error {
	return s.call(ctx, http.MethodPost, control.Prefix+path, in, nil)
}

// AddOwner creates an organization or a user with private repositories and installs the App for all of them. Nothing is done if
// there is an owner of that name.
func (s *Simulator) AddOwner(ctx context.Context, login string, org bool, repos ...string) error {
	if err := s.post(ctx, "/owners", map[string]any{"login": login, "org": org}); err != nil {
		if errors.Is(err, errExists) {
			return nil
		}
		return err
	}
	for _, name := range repos {
		if err := s.post(ctx, "/repos", map[string]any{"owner": login, "name": name, "private": true}); err != nil {
			return err
		}
	}
	return s.post(ctx, "/installations", map[string]any{"owner": login})
}

// AddPublic creates a public repository of an owner.
func (s *Simulator) AddPublic(ctx context.Context, owner, name string) error {
	return s.post(ctx, "/repos", map[string]any{"owner": owner, "name": name, "private": false})
}

// AddEnterprise creates an organization of an enterprise with private repositories, where no App is installed.
func (s *Simulator) AddEnterprise(ctx context.Context, slug, login string, repos ...string) error {
	if err := s.post(ctx, "/owners", map[string]any{"login": login, "org": true, "enterprise": slug}); err != nil {
		return err
	}
	for _, name := range repos {
		if err := s.post(ctx, "/repos", map[string]any{"owner": login, "name": name, "private": true}); err != nil {
			return err
		}
	}
	return nil
}

// AddHook sends the webhooks of an enterprise or organization to url, signed with secret.
func (s *Simulator) AddHook(ctx context.Context, kind hooks.Kind, owner, url, secret string) error {
	return s.post(ctx, "/hooks", map[string]any{"kind": kind, "owner": owner, "url": url, "secret": secret})
}

// AddGroup creates a runner group of an organization or, by its page enterprises/SLUG, of an enterprise.
func (s *Simulator) AddGroup(ctx context.Context, owner, name string) error {
	return s.post(ctx, "/groups", map[string]any{"owner": owner, "name": name})
}

// AddAppHook sends the App's webhooks to url, signed with secret.
func (s *Simulator) AddAppHook(ctx context.Context, url, secret string) error {
	return s.post(ctx, "/hooks", map[string]any{"kind": hooks.App, "url": url, "secret": secret})
}

// Dispatch starts a workflow run.
func (s *Simulator) Dispatch(ctx context.Context, w world.Workflow) error {
	return s.post(ctx, "/runs", w)
}

// CancelRun cancels what has not ended of a workflow run.
func (s *Simulator) CancelRun(ctx context.Context, id int64) error {
	return s.post(ctx, fmt.Sprintf("/runs/%d/cancel", id), nil)
}

// SetFaults replaces all faults of GitHub and Modal.
func (s *Simulator) SetFaults(ctx context.Context, rules ...fault.Rule) error {
	if rules == nil {
		rules = []fault.Rule{}
	}
	return s.call(ctx, http.MethodPut, control.Prefix+"/faults", rules, nil)
}

// SetLimits replaces Modal's limits.
func (s *Simulator) SetLimits(ctx context.Context, l sandbox.Limits) error {
	return s.call(ctx, http.MethodPut, modalControl+"/options", l, nil)
}

// Make makes secrets and volumes at Modal.
func (s *Simulator) Make(ctx context.Context, o fakemodal.Objects) error {
	return s.call(ctx, http.MethodPost, modalControl+"/objects", o, nil)
}

// GitHub is the state of GitHub.
func (s *Simulator) GitHub(ctx context.Context) (state control.State, err error) {
	err = s.call(ctx, http.MethodGet, control.Prefix+"/state", nil, &state)
	return state, err
}

// Accepted are the jobs of which a webhook was answered with 2xx that says that they are queued.
func (s *Simulator) Accepted(ctx context.Context) (jobs []int64, err error) {
	err = s.call(ctx, http.MethodGet, control.Prefix+"/accepted", nil, &jobs)
	return jobs, err
}

// Modal is the state of Modal.
func (s *Simulator) Modal(ctx context.Context) (state fakemodal.Snapshot, err error) {
	err = s.call(ctx, http.MethodGet, modalControl+"/sandboxes", nil, &state)
	return state, err
}
