package hooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // GitHub still sends the old signature beside the new one
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// maxAnswer is how much of a receiver's answer is kept.
const maxAnswer = 4 << 10

// delivery is one request, made or to be made. Its body is rendered from the event whenever it is needed, which gives
// the same bytes each time and keeps what is remembered small. All but id and result is fixed once it is queued.
type delivery struct {
	hook         Hook
	event        string
	job          *world.Event // nil for a ping
	installation int64
	guid         string
	at           time.Time
	fault        fault.Outcome
	redelivery   bool

	id     int64
	result result
}

type result struct {
	duration time.Duration
	code     int // 0 if there was no answer
	status   string
	header   http.Header
	body     string
}

func (h *Hooks) payload(d *delivery) ([]byte, error) {
	if d.job != nil {
		return json.Marshal(h.links.JobPayload(*d.job, d.installation))
	}
	kind := map[Kind]string{App: "App", Organization: "Organization", Repository: "Repository"}[d.hook.Kind]
	return json.Marshal(shape.Object{
		"zen": "Keep it logically awesome.", "hook_id": d.hook.ID, "sender": h.links.Sender(),
		"hook": shape.Object{
			"type": kind, "id": d.hook.ID, "name": "web", "active": true, "events": []string{"workflow_job"},
			"config": shape.Object{"content_type": "json", "insecure_ssl": "0", "url": d.hook.URL, "secret": "********"},
		},
	})
}

func (d *delivery) header(body []byte) http.Header {
	out := http.Header{}
	out.Set("Accept", "*/*")
	out.Set("Content-Type", "application/json")
	out.Set("User-Agent", "GitHub-Hookshot/044aadd")
	for name, value := range map[string]string{
		"X-GitHub-Delivery": d.guid, "X-GitHub-Event": d.event, "X-GitHub-Hook-ID": strconv.FormatInt(d.hook.ID, 10),
		"X-GitHub-Hook-Installation-Target-Type": string(d.hook.Kind),
		"X-GitHub-Hook-Installation-Target-ID":   strconv.FormatInt(d.hook.TargetID, 10),
	} {
		out[name] = []string{value} // GitHub's spelling, which Set would change
	}
	if d.hook.Secret != "" {
		out.Set("X-Hub-Signature", "sha1="+sign(sha1.New, d.hook.Secret, body))
		out.Set("X-Hub-Signature-256", "sha256="+sign(sha256.New, d.hook.Secret, body))
	}
	return out
}

func sign(h func() hash.Hash, secret string, body []byte) string {
	mac := hmac.New(h, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// deliver makes the request and files its result.
func (h *Hooks) deliver(d *delivery) {
	started := time.Now()
	res, err := h.post(d)
	if err != nil {
		// No answer: GitHub shows such deliveries with the code 0.
		res.status = "failed to connect to host"
		if errors.Is(err, context.DeadlineExceeded) {
			res.status = "timed out"
		}
		h.log.LogAttrs(h.ctx, slog.LevelDebug, "webhook not delivered", slog.String("guid", d.guid), slog.Any("error", err))
	}
	res.duration = time.Since(started)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.Pending--
	h.stats.Sent++
	if res.code >= 200 && res.code < 300 {
		h.stats.OK++
	} else {
		h.stats.Failed++
	}
	h.lastID++
	d.id, d.result = h.lastID, res
	h.kept = append(h.kept, d)
	h.prune()
}

func (h *Hooks) post(d *delivery) (result, error) {
	if d.fault.Error != "" && !d.fault.After {
		return faulted(d.fault.Error), nil
	}
	body, err := h.payload(d)
	if err != nil {
		return result{}, fmt.Errorf("render payload: %w", err)
	}
	req, err := http.NewRequestWithContext(h.ctx, http.MethodPost, d.hook.URL, bytes.NewReader(body))
	if err != nil {
		return result{}, err
	}
	req.Header = d.header(body)
	resp, err := h.client.Do(req)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return result{}, fmt.Errorf("read answer: %w", err)
	}
	if d.fault.Error != "" {
		return faulted(d.fault.Error), nil
	}
	status := "OK"
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		status = "Invalid HTTP Response: " + strconv.Itoa(resp.StatusCode)
	}
	return result{code: resp.StatusCode, status: status, header: resp.Header, body: string(answer)}, nil
}

// faulted is the result of a delivery whose receiver GitHub could not reach or did not hear.
func faulted(code string) result {
	n, err := strconv.Atoi(code)
	if err != nil {
		return result{status: "failed to connect to host"}
	}
	return result{code: n, status: "Invalid HTTP Response: " + code}
}

// prune forgets what GitHub no longer offers for redelivery.
func (h *Hooks) prune() {
	oldest := time.Now().Add(-retention)
	n := slices.IndexFunc(h.kept, func(d *delivery) bool { return d.at.After(oldest) })
	if n < 0 {
		n = len(h.kept)
	}
	h.kept = slices.Delete(h.kept, 0, n)
}

// newGUID is a random version 4 UUID.
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
