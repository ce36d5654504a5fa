package actionsrunner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"modal-github-runner/services/simulator/internal/actionsrunner/wire"
)

const (
	callLimit  = 10 * time.Second
	pollLimit  = 60 * time.Second // above the 50 s that the service holds a long poll
	maxBackoff = 10 * time.Second
)

// client speaks to the runner service.
type client struct {
	http    *http.Client
	server  string
	session string
}

func newClient(server string) *client {
	return &client{server: server, http: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}}
}

// refusal is an answer of the service that is not 2xx.
type refusal struct {
	wire.Refusal
	status int
}

func (r *refusal) Error() string { return r.Message }

// lasting tells whether asking again cannot help.
func (r *refusal) lasting() bool { return r.status < http.StatusInternalServerError }

func refused(err error, code wire.Code) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.Code == code
}

// call makes one request. out may be nil; found tells whether there was a body.
func (c *client) call(ctx context.Context, method, path string, in, out any) (found bool, err error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return false, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, body)
	if err != nil {
		return false, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		r := &refusal{status: resp.StatusCode, Refusal: wire.Refusal{Message: resp.Status}}
		if err := json.NewDecoder(resp.Body).Decode(&r.Refusal); err != nil {
			r.Message = resp.Status // something in between answered
		}
		return false, r
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return false, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return false, fmt.Errorf("decode answer: %w", err)
	}
	return true, nil
}

// once calls within callLimit and ctx's deadline, but is not cut short when ctx is cancelled: a session or a job that
// the service gave away in this moment would have no owner.
func (c *client) once(ctx context.Context, method, path string, in, out any) (bool, error) {
	limit := time.Now().Add(callLimit)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(limit) {
		limit = deadline
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), limit)
	defer cancel()
	return c.call(ctx, method, path, in, out)
}

// insist posts until there is an answer that counts, or ctx ends.
func (c *client) insist(ctx context.Context, path string, in, out any) error {
	wait := time.Second
	for {
		_, err := c.once(ctx, http.MethodPost, path, in, out)
		if r, ok := errors.AsType[*refusal](err); err == nil || (ok && r.lasting()) {
			return err
		}
		if !sleep(ctx, wait) {
			return errors.Join(context.Cause(ctx), err)
		}
		wait = min(2*wait, maxBackoff)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *client) connect(ctx context.Context, in wire.ConnectRequest) error {
	var out wire.ConnectResponse
	if err := c.insist(ctx, "/sessions", in, &out); err != nil {
		return err
	}
	c.session = "/sessions/" + out.SessionID
	return nil
}

// poll waits for a message once; nil means that there was none.
func (c *client) poll(ctx context.Context) (*wire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, pollLimit)
	defer cancel()
	var m wire.Message
	found, err := c.call(ctx, http.MethodGet, c.session+"/message", nil, &m)
	if err != nil || !found {
		return nil, err
	}
	return &m, nil
}

func (c *client) acquire(ctx context.Context, job int64) (wire.Job, error) {
	var out wire.Job
	err := c.insist(ctx, c.job(job)+"/acquire", nil, &out)
	return out, err
}

func (c *client) report(ctx context.Context, job int64, s wire.Step) error {
	return c.insist(ctx, c.job(job)+"/steps", s, nil)
}

func (c *client) complete(ctx context.Context, job int64, r wire.Result) error {
	return c.insist(ctx, c.job(job)+"/complete", r, nil)
}

func (c *client) disconnect(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodDelete, c.session, nil, nil)
	return err
}

func (c *client) job(id int64) string { return fmt.Sprintf("%s/jobs/%d", c.session, id) }
