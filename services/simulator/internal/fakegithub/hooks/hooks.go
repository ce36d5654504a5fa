// Package hooks sends the webhooks of the simulated GitHub, and keeps what it sent for redelivery.
//
// It promises what GitHub promises and no more: each delivery is sent once, within a time limit, in no certain order
// and without a retry. It signs; it never verifies, and it must not share code with what receives.
package hooks

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// What GitHub keeps to (GitHub Docs, "Best practices for using webhooks" and "Redelivering webhooks").
const (
	sendLimit = 10 * time.Second
	retention = 3 * 24 * time.Hour
	// parallel keeps a burst from opening a connection per job; GitHub's own bound is not published.
	parallel = 20
)

// Kind says whose hook it is; the values are those of X-GitHub-Hook-Installation-Target-Type.
type Kind string

// The kinds of hooks.
const (
	App          Kind = "integration"
	Enterprise   Kind = "business"
	Organization Kind = "organization"
	Repository   Kind = "repository"
)

// Hook is a place where events of jobs are sent.
type Hook struct {
	ID       int64  `json:"id"`
	Kind     Kind   `json:"kind"`
	Target   string `json:"target,omitempty"` // the enterprise, the organization, or "owner/name"; empty for the App's hook
	TargetID int64  `json:"target_id"`
	URL      string `json:"url"`
	Secret   string `json:"-"` // signs every delivery; empty means unsigned, as at GitHub

	CreatedAt time.Time `json:"created_at"`
}

// Options of New.
type Options struct {
	Links     shape.Links
	Faults    *fault.Injector
	Transport http.RoundTripper // nil means http.DefaultTransport's settings
	Log       *slog.Logger
}

// Hooks sends and remembers. Close it to wait for what is under way.
type Hooks struct {
	links  shape.Links
	faults *fault.Injector
	client *http.Client
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // the life of the sending goroutines, ended by Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	lastID int64
	hooks  []Hook
	kept   []*delivery // oldest first, ids rising
	queue  []*delivery
	active int
	stats  Stats
}

// Stats counts deliveries since the start.
type Stats struct {
	Sent      int `json:"sent"`      // requests made, redeliveries and duplicates among them
	OK        int `json:"ok"`        // answered 2xx
	Failed    int `json:"failed"`    // any other answer, or none
	Lost      int `json:"lost"`      // never sent, by a fault
	Duplicate int `json:"duplicate"` // sent twice, by a fault
	Pending   int `json:"pending"`   // queued or under way
}

// New makes a sender without hooks.
func New(o Options) *Hooks {
	ctx, cancel := context.WithCancelCause(context.Background())
	transport := o.Transport
	if transport == nil {
		transport = &http.Transport{MaxIdleConnsPerHost: parallel, IdleConnTimeout: time.Minute}
	}
	return &Hooks{
		links: o.Links, faults: o.Faults, log: o.Log, ctx: ctx, cancel: cancel,
		client: &http.Client{Transport: transport, Timeout: sendLimit, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // GitHub follows no redirect
		}},
	}
}

// Close gives up what is queued, interrupts what is under way, and waits for it.
func (h *Hooks) Close() {
	h.mu.Lock()
	h.closed = true
	h.queue = nil
	h.mu.Unlock()
	h.cancel(fmt.Errorf("hooks are closed: %w", context.Canceled))
	h.wg.Wait()
	h.client.CloseIdleConnections()
}

// Add creates a hook, gives it an id and a time, and sends the ping that GitHub sends to a new hook.
func (h *Hooks) Add(k Hook) Hook {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastID++
	k.ID, k.CreatedAt = h.lastID, time.Now()
	h.hooks = append(h.hooks, k)
	h.enqueue(&delivery{hook: k, event: "ping", guid: newGUID(), at: time.Now()})
	return k
}

// List returns the hooks by id.
func (h *Hooks) List() []Hook {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.hooks)
}

// JobEvent sends an event to every hook that covers the repository; each gets its own delivery with its own GUID.
func (h *Hooks) JobEvent(e world.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range h.hooks {
		installation := int64(0)
		switch k.Kind {
		case App:
			if installation = e.Installation; installation == 0 {
				continue
			}
		case Enterprise:
			if !strings.EqualFold(k.Target, e.Owner.Enterprise) {
				continue
			}
		case Organization:
			if !strings.EqualFold(k.Target, e.Owner.Login) {
				continue
			}
		case Repository:
			if !strings.EqualFold(k.Target, e.Repo.FullName()) {
				continue
			}
		}
		h.draw(&delivery{hook: k, event: "workflow_job", job: &e, installation: installation, guid: newGUID(), at: e.At})
	}
}

// draw asks for the fault of a first delivery.
func (h *Hooks) draw(d *delivery) {
	out := h.faults.Next("webhook." + d.job.Action)
	d.fault = out
	switch out.Error {
	case "lost":
		h.stats.Lost++
		return
	case "duplicate":
		h.stats.Duplicate++
		d.fault.Error = ""
		again := *d
		h.enqueue(&again)
	default:
	}
	h.enqueue(d)
}

// enqueue starts a sender if fewer than parallel are at work.
func (h *Hooks) enqueue(d *delivery) {
	if h.closed {
		return
	}
	h.stats.Pending++
	if d.fault.Latency > 0 {
		h.wg.Go(func() { h.delayed(d) })
		return
	}
	h.ready(d)
}

func (h *Hooks) delayed(d *delivery) {
	select {
	case <-time.After(d.fault.Latency):
	case <-h.ctx.Done():
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.ready(d)
	}
}

func (h *Hooks) ready(d *delivery) {
	h.queue = append(h.queue, d)
	if h.active < parallel {
		h.active++
		h.wg.Go(h.send)
	}
}

// send works until the queue is empty.
func (h *Hooks) send() {
	for {
		h.mu.Lock()
		if len(h.queue) == 0 {
			h.active--
			h.mu.Unlock()
			return
		}
		d := h.queue[0]
		h.queue = h.queue[1:]
		h.mu.Unlock()
		h.deliver(d)
	}
}

// Stats reads the counters.
func (h *Hooks) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stats
}
