package hooks

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/fault"
)

// ErrNotFound means that GitHub knows no such delivery, or does not any more.
var ErrNotFound = errors.New("delivery not found")

// Query selects deliveries of one hook.
type Query struct {
	Hook   int64
	From   int64  // the newest delivery of the page, by id; 0 means the newest there is
	Status string // "success", "failure" (400 to 599) or empty for all
	Limit  int    // 1 to 100
}

// Deliveries renders a page, newest first, and the id that the next page starts from; 0 on the last.
func (h *Hooks) Deliveries(q Query) ([]shape.Object, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.prune()
	out := []shape.Object{}
	for _, d := range slices.Backward(h.kept) {
		if d.hook.ID != q.Hook || (q.From != 0 && d.id > q.From) || !d.matches(q.Status) {
			continue
		}
		if len(out) == q.Limit {
			return out, d.id
		}
		out = append(out, d.item())
	}
	return out, 0
}

// Accepted are the jobs of which a webhook was answered with 2xx that says that they are queued, in the order of their ids. What
// GitHub has forgotten of deliveries, after three days, is not among them.
func (h *Hooks) Accepted() []int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	jobs := []int64{}
	for _, d := range h.kept {
		if d.job != nil && d.job.Action == "queued" && d.result.code >= 200 && d.result.code < 300 {
			jobs = append(jobs, d.job.Job.ID)
		}
	}
	slices.Sort(jobs)
	return slices.Compact(jobs)
}

func (d *delivery) matches(status string) bool {
	switch status {
	case "success":
		return d.result.code >= 200 && d.result.code < 400
	case "failure":
		return d.result.code >= 400 && d.result.code < 600
	default:
		return true
	}
}

func (d *delivery) item() shape.Object {
	out := shape.Object{
		"id": d.id, "guid": d.guid, "delivered_at": shape.Time(d.at), "redelivery": d.redelivery,
		"duration": d.result.duration.Seconds(), "status": d.result.status, "status_code": d.result.code, "event": d.event,
		"action": nil, "installation_id": nil, "repository_id": nil, "throttled_at": nil,
	}
	if d.job != nil {
		out["action"], out["repository_id"] = d.job.Action, d.job.Repo.ID
	}
	if d.installation != 0 {
		out["installation_id"] = d.installation
	}
	return out
}

// Delivery renders one delivery of a hook with its request and answer. The error wraps ErrNotFound.
func (h *Hooks) Delivery(hook, id int64) (shape.Object, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.find(hook, id)
	if err != nil {
		return nil, err
	}
	body, err := h.payload(d)
	if err != nil {
		return nil, fmt.Errorf("render payload: %w", err)
	}
	out := d.item()
	out["url"] = d.hook.URL
	out["request"] = shape.Object{"headers": flat(d.header(body)), "payload": json.RawMessage(body)}
	out["response"] = shape.Object{"headers": flat(d.result.header), "payload": d.result.body}
	return out, nil
}

// Redeliver sends a delivery again: the same GUID and payload under a new id. Faults of the operation
// "webhook.redelivery" may strike it. The error wraps
// ErrNotFound.
func (h *Hooks) Redeliver(hook, id int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.find(hook, id)
	if err != nil {
		return err
	}
	again := *d
	again.fault = fault.Outcome{}
	if d.job != nil {
		again.fault = h.faults.Next("webhook.redelivery")
	}
	again.redelivery, again.at = true, time.Now()
	h.enqueue(&again)
	return nil
}

func (h *Hooks) find(hook, id int64) (*delivery, error) {
	h.prune()
	n, ok := slices.BinarySearchFunc(h.kept, id, func(d *delivery, id int64) int { return cmp.Compare(d.id, id) })
	if !ok || h.kept[n].hook.ID != hook {
		return nil, fmt.Errorf("delivery %d of hook %d: %w", id, hook, ErrNotFound)
	}
	return h.kept[n], nil
}

func flat(h http.Header) map[string]string {
	out := make(map[string]string, len(h))
	for name, values := range h {
		out[name] = strings.Join(values, ", ")
	}
	return out
}
