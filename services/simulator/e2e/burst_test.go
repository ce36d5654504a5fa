package e2e_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/demo/rig"
)

// TestABurstOfWebhooksIsAcceptedInTime is about ingress alone: twenty matrices of GitHub's largest size at once.
func TestABurstOfWebhooksIsAcceptedInTime(t *testing.T) {
	long(t)
	covers(t, "F15")
	s := start(t, rig.Options{Env: []string{"ALLOWED_REPOS=Codertocat/Hello-World"}})
	s.do(s.Worker(0).Stop(stopLimit))
	// As many at once as ingress has places for by default, so that its limits are felt.
	const webhooks, senders = 20 * 256, 256
	body := relabel(t, "workflow_job/queued.payload.json")
	var (
		sending sync.WaitGroup
		mu      sync.Mutex
		took    []time.Duration
		other   []answer
	)
	for range senders {
		sending.Go(func() {
			for range webhooks / senders {
				began := time.Now()
				got, err := try(s.delivery(t.Context(), newGUID(), "workflow_job", body))
				mu.Lock()
				if took = append(took, time.Since(began)); err != nil || got.status != http.StatusAccepted {
					other = append(other, got)
				}
				mu.Unlock()
			}
		})
	}
	sending.Wait()
	if len(other) > 0 {
		t.Errorf("%d of %d webhooks were not accepted: %+v", len(other), webhooks, other[0])
	}
	if stored := len(s.storedDeliveries()); stored != webhooks {
		t.Errorf("%d of %d events are in the stream", stored, webhooks)
	}
	p99 := report.Percentile(took, 99)
	t.Logf("p99 %s, longest %s", p99, slices.Max(took))
	if p99 > githubPatience {
		t.Errorf("99 %% were answered within %s, GitHub waits %s", p99, githubPatience)
	}
}
