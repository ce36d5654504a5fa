// Package operator is the near end of the commands with which a person asks a running worker: it puts their question to the
// worker's admin listener (package adminapi) and prints the answer, for people or as it came, for programs. It holds no
// rule, and speaks neither to NATS nor to GitHub or Modal.
package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"modal-github-runner/services/worker/internal/adminapi"
)

const (
	// timeout is above what a worker takes to read a week's records.
	timeout = 2 * time.Minute
	// maxAnswer is far above the longest list.
	maxAnswer = 16 << 20
)

// Client asks one worker.
type Client struct {
	addr string
	http *http.Transport
}

// NewClient makes a client of the admin listener at addr ("host:port"; without a host, this machine).
func NewClient(addr string) (*Client, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("addr: must be host:port (got %q): %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	// Its own transport: a proxy from the environment has no business between an operator and a worker.
	return &Client{addr: net.JoinHostPort(host, port), http: &http.Transport{DisableKeepAlives: true}}, nil
}

// Ask returns the answer as it came. What the worker refuses is an error in its words.
func (c *Client) Ask(ctx context.Context, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("addr: %w", err)
	}
	response, err := c.http.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("ask the worker at %s: %w", c.addr, err)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the answer of the worker at %s: %w", c.addr, err)
	}
	if response.StatusCode == http.StatusOK {
		return body, nil
	}
	var problem adminapi.Problem
	if err := json.Unmarshal(body, &problem); err != nil || problem.Error == "" {
		return nil, fmt.Errorf("the worker at %s answered %s", c.addr, response.Status)
	}
	return nil, errors.New(problem.Error)
}
