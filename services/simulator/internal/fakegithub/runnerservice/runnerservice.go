// Package runnerservice is the part of the simulated GitHub that runner programs talk to: sessions, long polls for
// messages, and the reports of a job. It translates between HTTP and the model, and keeps no state of its own.
package runnerservice

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"modal-github-runner/services/simulator/internal/actionsrunner/wire"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// maxBody bounds a report; a step's output within it is bounded by the runner.
const maxBody = 1 << 20

// Service is an http.Handler for the paths below Prefix.
type Service struct {
	world  *world.World
	faults *fault.Injector
	mux    *http.ServeMux
}

// Prefix is where the service lives on GitHub's address.
const Prefix = "/_services/runner"

// New makes the handler. Faults have the operations "runner.connect", "runner.poll", "runner.acquire", "runner.step",
// "runner.complete" and "runner.disconnect"; their errors are HTTP statuses.
func New(w *world.World, faults *fault.Injector) *Service {
	s := &Service{world: w, faults: faults, mux: http.NewServeMux()}
	const session, job = Prefix + "/sessions/{session}", Prefix + "/sessions/{session}/jobs/{job}"
	s.handle("POST "+Prefix+"/sessions", "runner.connect", s.connect)
	s.handle("GET "+session+"/message", "runner.poll", s.poll)
	s.handle("DELETE "+session, "runner.disconnect", s.disconnect)
	s.handle("POST "+job+"/acquire", "runner.acquire", s.acquire)
	s.handle("POST "+job+"/steps", "runner.step", s.step)
	s.handle("POST "+job+"/complete", "runner.complete", s.complete)
	return s
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// handle wraps an operation, whose answer is a body or an error, with its faults.
func (s *Service) handle(pattern, op string, do func(*http.Request) (any, error)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		out := s.faults.Next(op)
		if !pause(r, out.Latency) {
			return
		}
		if out.Error != "" && !out.After {
			refuse(w, statusOf(out.Error), wire.CodeFault, "fault")
			return
		}
		body, err := do(r)
		switch {
		case r.Context().Err() != nil: // nobody listens any more
		case out.Error != "":
			refuse(w, statusOf(out.Error), wire.CodeFault, "fault")
		case err != nil:
			status, code := classify(err)
			refuse(w, status, code, err.Error())
		case body == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			write(w, http.StatusOK, body)
		}
	})
}

func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
		return false
	}
}

func statusOf(fault string) int {
	if n, err := strconv.Atoi(fault); err == nil && n >= 400 && n < 600 {
		return n
	}
	return http.StatusInternalServerError
}

var errRequest = errors.New("bad request")

func classify(err error) (int, wire.Code) {
	switch {
	case errors.Is(err, errRequest):
		return http.StatusBadRequest, wire.CodeBadRequest
	case errors.Is(err, world.ErrDeregistered):
		return http.StatusNotFound, wire.CodeDeregistered
	case errors.Is(err, world.ErrBadCredentials):
		return http.StatusUnauthorized, wire.CodeCredentials
	case errors.Is(err, world.ErrConflict):
		return http.StatusConflict, wire.CodeConflict
	case errors.Is(err, world.ErrDeprecated):
		return http.StatusForbidden, wire.CodeDeprecated
	default:
		return http.StatusNotFound, wire.CodeNotFound
	}
}

func (s *Service) connect(r *http.Request) (any, error) {
	var in wire.ConnectRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	id, err := s.world.Connect(in.AgentID, in.Secret, in.Version, in.OS)
	if err != nil {
		return nil, err
	}
	return wire.ConnectResponse{SessionID: id}, nil
}

func (s *Service) poll(r *http.Request) (any, error) {
	m, err := s.world.Poll(r.Context(), r.PathValue("session"))
	if err != nil || m == nil {
		return nil, err
	}
	return wire.Message{JobID: m.JobID, Cancel: m.Cancel}, nil
}

func (s *Service) disconnect(r *http.Request) (any, error) {
	return nil, s.world.Disconnect(r.PathValue("session"))
}

func (s *Service) acquire(r *http.Request) (any, error) {
	id, err := jobID(r)
	if err != nil {
		return nil, err
	}
	job, run, err := s.world.Acquire(r.PathValue("session"), id)
	if err != nil {
		return nil, err
	}
	base := Base(r)
	out := wire.Job{
		ID: job.ID, Name: job.Name, Repository: job.Repo, Workflow: run.Workflow, RunID: run.ID, RunNumber: run.Number,
		RunAttempt: job.Attempt, Event: run.Event, Branch: run.Branch, SHA: run.SHA, ServerURL: base, APIURL: base + "/api/v3",
	}
	for _, step := range job.Steps {
		out.Steps = append(out.Steps, wire.Step{Number: step.Number, Name: step.Name, Run: step.Run})
	}
	return out, nil
}

func (s *Service) step(r *http.Request) (any, error) {
	id, err := jobID(r)
	if err != nil {
		return nil, err
	}
	var in wire.Step
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return nil, s.world.ReportStep(r.PathValue("session"), id, world.Step{
		Number: in.Number, Status: world.Status(in.Status), Conclusion: world.Conclusion(in.Conclusion), ExitCode: in.ExitCode,
		Output: in.Output, StartedAt: in.StartedAt, CompletedAt: in.CompletedAt,
	})
}

func (s *Service) complete(r *http.Request) (any, error) {
	id, err := jobID(r)
	if err != nil {
		return nil, err
	}
	var in wire.Result
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	switch c := world.Conclusion(in.Conclusion); c {
	case world.Success, world.Failure, world.Cancelled:
		return nil, s.world.Finish(r.PathValue("session"), id, c, in.ExitCode)
	case world.Skipped:
	}
	return nil, fmt.Errorf("conclusion: must be success, failure or cancelled (got %q): %w", in.Conclusion, errRequest)
}

// Base is the address that the request came to.
func Base(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

func jobID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("job"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("job: must be a number (got %q): %w", r.PathValue("job"), errRequest)
	}
	return id, nil
}

func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	return nil
}

func refuse(w http.ResponseWriter, status int, code wire.Code, message string) {
	write(w, status, wire.Refusal{Code: code, Message: message})
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the only error is a client that went away
}
