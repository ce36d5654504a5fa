package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"modal-github-runner/services/simulator/internal/demo/process"
)

const (
	// pollInterval is how often a program is asked whether it is ready.
	pollInterval = 20 * time.Millisecond
	// probeTimeout is generous: health is answered at once unless the machine is very busy.
	probeTimeout = 10 * time.Second
)

// start runs the program and waits for the log line with the message.
func (p *part) start(ctx context.Context, message string) (line string, err error) {
	if p.proc, err = process.Start(p.spec); err != nil {
		return "", err
	}
	return p.proc.AwaitLine(ctx, message)
}

// startService is start for ingress and worker: it learns their addresses.
func (p *part) startService(ctx context.Context, message string) error {
	line, err := p.start(ctx, message)
	if err != nil {
		return err
	}
	var started struct {
		Addr  string `json:"addr"`
		Admin string `json:"admin_addr"`
	}
	if err := json.Unmarshal([]byte(line), &started); err != nil {
		return fmt.Errorf("log line %q of %s: %w", line, p.spec.Name, err)
	}
	p.addr, p.admin = started.Addr, started.Admin
	return nil
}

// awaitReady waits until the program could do its work now.
func (p *part) awaitReady(ctx context.Context) error {
	// No connection is kept: nobody would close it.
	probe := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: probeTimeout}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		reason, ready := p.ready(ctx, probe)
		if ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %s", p.spec.Name, context.Cause(ctx), reason)
		case <-p.proc.Done():
			return p.proc.Check()
		case <-ticker.C:
		}
	}
}

func (p *part) ready(ctx context.Context, probe *http.Client) (reason string, ready bool) {
	body, err := get(ctx, probe, "http://"+p.admin+"/readyz")
	if err != nil {
		return err.Error(), false
	}
	return string(body), true
}

// get returns the body of a 200, and an error with the body for every other answer.
func get(ctx context.Context, client *http.Client, url string) (body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return do(client, req)
}

// errExists says that the simulator has what it was asked to make.
var errExists = errors.New("exists already")

func do(client *http.Client, req *http.Request) (body []byte, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", req.Method, req.URL, resp.Status, body)
		if resp.StatusCode == http.StatusConflict {
			err = errors.Join(errExists, err)
		}
	}
	return body, err
}
