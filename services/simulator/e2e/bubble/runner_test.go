package bubble_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"modal-github-runner/services/simulator/internal/actionsrunner"
	"modal-github-runner/services/simulator/internal/actionsrunner/wire"
)

const (
	retryEvery = 2 * time.Second
	// reportFor is how long a runner tries to report its job's end; GitHub gives the job up after as long.
	reportFor = 10 * time.Minute
)

// service is how runners reach the simulated GitHub's service for them.
type service struct{ client *http.Client }

func newService(n *network) *service {
	return &service{&http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, addr string) (net.Conn, error) { return n.dial(ctx, addr) },
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}}}
}

// refusedError is an answer that is not 2xx.
type refusedError struct {
	wire.Refusal
	status int
}

func (e *refusedError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.Message) }

// lasting reports whether asking again can't help.
func lasting(err error) bool {
	e, ok := errors.AsType[*refusedError](err)
	return ok && e.status < http.StatusInternalServerError
}

// call makes one request, and reports whether the answer had a body.
func (s *service) call(ctx context.Context, method, url string, in, out any) (bool, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	if resp.StatusCode > 299 {
		e := &refusedError{status: resp.StatusCode}
		return false, errors.Join(json.Unmarshal(answer, &e.Refusal), e)
	}
	if len(answer) == 0 || out == nil {
		return false, nil
	}
	return true, json.Unmarshal(answer, out)
}

// insist posts until there is an answer that counts, or ctx ends.
func (s *service) insist(ctx context.Context, url string, in, out any) error {
	for {
		_, err := s.call(ctx, http.MethodPost, url, in, out)
		if err == nil || lasting(err) || !sleep(ctx, retryEvery) {
			return err
		}
	}
}

// runner is GitHub's runner with a JIT configuration: it takes one job at most.
type runner struct {
	box     *box
	service *service
	jit     string
	session string
}

// killed is the exit code of what got SIGKILL.
const killed = 137

// run returns the exit code of run.sh. listening ends with SIGINT; when ctx ends, the runner is dead and says nothing more.
func (r *runner) run(ctx, listening context.Context, out io.Writer) int {
	files, err := wire.DecodeJIT(r.jit)
	if err != nil {
		return actionsrunner.ExitTerminated
	}
	var settings wire.Settings
	var key wire.Key
	if err := errors.Join(json.Unmarshal(files[wire.SettingsFile], &settings), json.Unmarshal(files[wire.KeyFile], &key)); err != nil {
		return actionsrunner.ExitTerminated
	}
	var connected wire.ConnectResponse
	err = r.service.insist(ctx, settings.ServerURL+"/sessions", wire.ConnectRequest{
		AgentID: settings.AgentID, Secret: key.D, Version: actionsrunner.Version, OS: "Linux",
	}, &connected)
	if err != nil {
		_, _ = fmt.Fprintf(out, "Failed to create a session. %v\n", err) // the log takes everything
		return actionsrunner.ExitSuccess                                 // run.sh drops the code of its helper
	}
	r.session = settings.ServerURL + "/sessions/" + connected.SessionID
	job, found := r.listen(ctx, listening)
	if !found {
		return actionsrunner.ExitSuccess
	}
	return r.work(ctx, job)
}

// listen waits for a job and takes it.
func (r *runner) listen(ctx, listening context.Context) (job wire.Job, found bool) {
	for {
		m, err := r.poll(listening)
		switch {
		case listening.Err() != nil:
			_, _ = r.service.call(ctx, http.MethodDelete, r.session, nil, nil) // a goodbye that got lost is noticed by silence
			return wire.Job{}, false
		case lasting(err): // The registration is gone.
			return wire.Job{}, false
		case err != nil:
			sleep(listening, retryEvery)
		case m == nil || m.Cancel:
		case r.service.insist(ctx, r.job(m.JobID)+"/acquire", nil, &job) == nil:
			return job, true
		}
	}
}

func (r *runner) poll(ctx context.Context) (*wire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var m wire.Message
	found, err := r.service.call(ctx, http.MethodGet, r.session+"/message", nil, &m)
	if !found {
		return nil, err
	}
	return &m, nil
}

func (r *runner) job(id int64) string { return fmt.Sprintf("%s/jobs/%d", r.session, id) }

// work runs the job for as long as it says, and reports how it ended.
func (r *runner) work(ctx context.Context, job wire.Job) int {
	result := wire.Result{Conclusion: "failure", ExitCode: 1}
	if r.box.begun() { // Else the started hook refuses the job.
		result = r.steps(ctx, job)
	}
	if result.Conclusion == "" {
		return killed
	}
	ctx, cancel := context.WithTimeout(ctx, reportFor)
	defer cancel()
	_ = r.service.insist(ctx, r.job(job.ID)+"/complete", result, nil) // GitHub gives up what it does not hear of
	return actionsrunner.ExitSuccess
}

// steps polls while the job runs, as the sign of life and for a cancellation. No conclusion means that the runner died.
func (r *runner) steps(ctx context.Context, job wire.Job) wire.Result {
	script, err := parseScript(job)
	if err != nil {
		return wire.Result{Conclusion: "failure", ExitCode: 2}
	}
	length := script.lasts
	if r.box.fate == cutDown {
		length /= 2
	}
	lasts, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	for lasts.Err() == nil {
		m, err := r.poll(lasts)
		switch {
		case lasting(err): // The registration was deleted below a running job, which goes on.
			<-lasts.Done()
		case err != nil:
			sleep(lasts, retryEvery)
		case m != nil && m.Cancel:
			return wire.Result{Conclusion: "cancelled"}
		}
	}
	switch {
	case ctx.Err() != nil:
		return wire.Result{}
	case r.box.fate == cutDown:
		r.box.met(r.box.id, cutDown)
		return wire.Result{}
	case script.code != 0:
		return wire.Result{Conclusion: "failure", ExitCode: script.code}
	}
	return wire.Result{Conclusion: "success"}
}

// script is what a job does.
type script struct {
	lasts time.Duration
	code  int
}

// command is the step of a job that lasts so long and ends so.
func (s script) command() string {
	return fmt.Sprintf("sleep %d; exit %d", int(s.lasts.Seconds()), s.code)
}

func parseScript(job wire.Job) (script, error) {
	for _, step := range job.Steps {
		var seconds, code int
		if _, err := fmt.Sscanf(step.Run, "sleep %d; exit %d", &seconds, &code); err == nil {
			return script{time.Duration(seconds) * time.Second, code}, nil
		}
	}
	return script{}, fmt.Errorf("job %d has no command", job.ID)
}
