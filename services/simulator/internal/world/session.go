package world

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

// session is one connection of a runner's program. It is guarded by World.mu; the channels are not.
type session struct {
	id     string
	runner *runner
	timer  *time.Timer
	notify chan struct{} // holds one token: something to look at
	gone   chan struct{} // closed when the session ended
}

func (s *session) wake() {
	select {
	case s.notify <- struct{}{}:
	default: // the poller has not looked since the last token
	}
}

// Message tells a runner what to do: run Job, or stop it if Cancel.
type Message struct {
	JobID  int64 `json:"job_id"`
	Cancel bool  `json:"cancel,omitempty"`
}

// RequireVersion makes GitHub refuse runners older than version ("2.329.0"); empty accepts all.
func (w *World) RequireVersion(version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.minVersion = version
}

// Connect opens the session of a runner's program and makes the runner online. The error wraps ErrDeregistered,
// ErrBadCredentials, ErrConflict or ErrDeprecated.
func (w *World) Connect(runnerID int64, secret, version, os string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.findRunner(Scope{}, runnerID)
	switch {
	case w.closed || !ok:
		return "", fmt.Errorf("runner %d: %w", runnerID, ErrDeregistered)
	case r.secret != secret || (!r.connected && time.Since(r.RegisteredAt) > w.timing.JIT):
		return "", fmt.Errorf("runner %q: %w", r.Name, ErrBadCredentials)
	case olderThan(version, w.minVersion):
		return "", fmt.Errorf("runner version v%s is deprecated and cannot receive messages: %w", version, ErrDeprecated)
	case r.session != nil:
		return "", fmt.Errorf("runner %q: %w", r.Name, ErrConflict)
	case r.connected:
		return "", fmt.Errorf("runner %q had its session: %w", r.Name, ErrDeregistered)
	}
	s := &session{id: rand.Text(), runner: r, notify: make(chan struct{}, 1), gone: make(chan struct{})}
	s.timer = time.AfterFunc(w.timing.Silence, func() { w.silenceTimeout(s) })
	w.sessions[s.id] = s
	r.session, r.connected, r.Version, r.OS, r.ConnectedAt = s, true, version, os, time.Now()
	r.offlineTimer.Stop()
	w.assign()
	return s.id, nil
}

// Poll waits up to Timing.LongPoll for something to do; nil means that there was nothing. A message comes again with
// every call until the runner acted on it. The error wraps ErrDeregistered once the session ended, or is ctx's.
func (w *World) Poll(ctx context.Context, sessionID string) (*Message, error) {
	limit := time.NewTimer(w.timing.LongPoll)
	defer limit.Stop()
	for {
		s, m, err := w.next(sessionID)
		if err != nil || m != nil {
			return m, err
		}
		select {
		case <-s.notify:
		case <-s.gone:
		case <-limit.C:
			return nil, nil //nolint:nilnil // an empty long poll is neither a message nor an error
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (w *World) next(sessionID string) (*session, *Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, err := w.touch(sessionID)
	if err != nil {
		return nil, nil, err
	}
	switch j := s.runner.job; {
	case j == nil:
		return s, nil, nil
	case j.Status == Queued:
		return s, &Message{JobID: j.ID}, nil
	case j.cancelling:
		return s, &Message{JobID: j.ID, Cancel: true}, nil
	default:
		return s, nil, nil
	}
}

// touch finds the session and notes that its program lives.
func (w *World) touch(id string) (*session, error) {
	s, ok := w.sessions[id]
	if !ok {
		return nil, fmt.Errorf("session: %w", ErrDeregistered)
	}
	wait := w.timing.Silence
	if j := s.runner.job; j != nil && j.Status == InProgress {
		wait = w.timing.Lock
	}
	s.timer.Reset(wait)
	return s, nil
}

// silenceTimeout ends the session of a program that no longer talks; the job that it runs has failed.
func (w *World) silenceTimeout(s *session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sessions[s.id] != s {
		return
	}
	w.end(s, "the self-hosted runner lost communication with the server")
}

// end closes a session whose program is gone, and settles the job that it had.
func (w *World) end(s *session, reason string) {
	r, j := s.runner, s.runner.job
	w.drop(s)
	switch {
	case j == nil: // an idle runner leaves nothing behind
	case j.Status == InProgress:
		w.finish(j, Failure, reason)
		return
	default:
		w.requeue(j)
	}
	r.offlineTimer.Reset(w.timing.Offline)
	w.assign()
}

// drop forgets the session without a look at its job.
func (w *World) drop(s *session) {
	s.timer.Stop()
	delete(w.sessions, s.id)
	s.runner.session = nil
	close(s.gone)
}

// Disconnect is a program that says goodbye. The registration stays. The error wraps ErrDeregistered.
func (w *World) Disconnect(sessionID string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, err := w.touch(sessionID)
	if err != nil {
		return err
	}
	w.end(s, "the runner has received a shutdown signal")
	return nil
}

// Acquire takes the job that the session was told of, and starts it. The error wraps ErrDeregistered, or ErrNotFound if
// the job is not this runner's any more.
func (w *World) Acquire(sessionID string, jobID int64) (Job, Run, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, err := w.touch(sessionID)
	if err != nil {
		return Job{}, Run{}, err
	}
	r, j := s.runner, s.runner.job
	if j == nil || j.ID != jobID || j.Status != Queued {
		return Job{}, Run{}, fmt.Errorf("job %d: %w", jobID, ErrNotFound)
	}
	j.queueTimer.Stop()
	j.acquireTimer.Stop()
	now := time.Now()
	j.Status, j.StartedAt = InProgress, now
	j.RunnerID, j.RunnerName, j.GroupID, j.GroupName = r.ID, r.Name, r.GroupID, r.GroupName
	j.Steps = []Step{{Number: 1, Name: "Set up job", Status: InProgress, StartedAt: now}}
	for n, spec := range j.spec.Steps {
		name := spec.Name
		if name == "" {
			first, _, _ := strings.Cut(spec.Run, "\n")
			name = "Run " + first
		}
		j.Steps = append(j.Steps, Step{Number: n + 2, Name: name, Run: spec.Run, Status: Queued})
	}
	s.timer.Reset(w.timing.Lock)
	w.emit("in_progress", j)
	return j.view(), j.run.view(), nil
}

// ReportStep records how far a step of the running job is. The error wraps ErrDeregistered or ErrNotFound.
func (w *World) ReportStep(sessionID string, jobID int64, step Step) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	j, err := w.running(sessionID, jobID)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(j.Steps, func(s Step) bool { return s.Number == step.Number })
	if n < 0 {
		return fmt.Errorf("step %d of job %d: %w", step.Number, jobID, ErrNotFound)
	}
	known := &j.Steps[n]
	known.Status, known.Conclusion, known.ExitCode, known.Output = step.Status, step.Conclusion, step.ExitCode, step.Output
	known.StartedAt, known.CompletedAt = step.StartedAt, step.CompletedAt
	return nil
}

// Finish ends the running job, and with it the registration of its ephemeral runner. The error wraps ErrDeregistered
// or ErrNotFound.
func (w *World) Finish(sessionID string, jobID int64, c Conclusion, exitCode int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	j, err := w.running(sessionID, jobID)
	if err != nil {
		return err
	}
	s := j.runner.session
	j.ExitCode = exitCode
	w.finish(j, c, j.Reason)
	w.drop(s)
	return nil
}

func (w *World) running(sessionID string, jobID int64) (*job, error) {
	s, err := w.touch(sessionID)
	if err != nil {
		return nil, err
	}
	j := s.runner.job
	if j == nil || j.ID != jobID || j.Status != InProgress {
		return nil, fmt.Errorf("job %d: %w", jobID, ErrNotFound)
	}
	return j, nil
}

func (w *World) finish(j *job, c Conclusion, reason string) {
	now := time.Now()
	for n := range j.Steps {
		if s := &j.Steps[n]; s.Status != Completed {
			s.Status, s.Conclusion, s.StartedAt, s.CompletedAt = Completed, Skipped, now, now
		}
	}
	j.Steps = append(j.Steps, Step{
		Number: len(j.Steps) + 1, Name: "Complete job", Status: Completed, Conclusion: Success, StartedAt: now, CompletedAt: now,
	})
	r := j.runner
	r.job, j.cancelling = nil, false
	w.deregister(r)
	w.complete(j, c, reason, now)
}
