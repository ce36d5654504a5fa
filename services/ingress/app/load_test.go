package app_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
)

// githubPatience is how long GitHub waits for an answer to a webhook.
const githubPatience = 10 * time.Second

// Twenty matrices of GitHub's largest size are queued at once, and GitHub sends each job's event by itself.
func TestTwentyMatricesAtOnceAreAcceptedInTime(t *testing.T) {
	faultstest.Cover(t, "F15")
	const webhooks, senders = 20 * 256, 64
	broker := natstest.Start(t)
	i := start(t, broker.URL())
	poll(t, i.ready)
	body := queued(t)
	signature := sign(secret, body)
	transport := &http.Transport{MaxIdleConnsPerHost: senders}
	defer transport.CloseIdleConnections()
	var (
		sending sync.WaitGroup
		mu      sync.Mutex
		took    []time.Duration
		refused = map[int]int{}
	)
	for sender := range senders {
		sending.Go(func() {
			for n := range webhooks / senders {
				began := time.Now()
				status := i.sendSigned(transport, fmt.Sprintf("%d-%d", sender, n), "workflow_job", body, signature)
				mu.Lock()
				if took = append(took, time.Since(began)); status != http.StatusAccepted {
					refused[status]++
				}
				mu.Unlock()
			}
		})
	}
	sending.Wait()
	slices.Sort(took)
	if p99 := took[len(took)*99/100]; p99 > githubPatience || len(refused) > 0 {
		t.Errorf("99 %% were answered within %s, GitHub waits %s; not accepted, by status: %v", p99, githubPatience, refused)
	}
	if got := stored(t, broker); got != webhooks {
		t.Errorf("%d of %d events are in the stream", got, webhooks)
	}
}

func TestWhileTheBrokersStorageIsFullWebhooksAreRefusedAndNothingIsDropped(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F31")
	broker := natstest.Start(t, natstest.Storage(1<<20))
	i := start(t, broker.URL())
	poll(t, i.ready)
	js := broker.JetStream(t)
	for size := 100 << 10; size > 0; size /= 2 { // Until there is no room for the smallest.
		for err := error(nil); err == nil; {
			_, err = js.Publish(t.Context(), wire.SubjectWaiting, bytes.Repeat([]byte("x"), size))
		}
	}
	full := stored(t, broker)
	if status := i.send("full", "workflow_job", queued(t)); status != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", status)
	}
	if got := stored(t, broker); got != full || full == 0 {
		t.Errorf("%d messages were stored before, and %d are", full, got)
	}
	if !strings.Contains(scrape(t, i), `outcome="queue_unavailable"} 1`) {
		t.Error("no metric tells of it")
	}
	stream, err := js.Stream(t.Context(), wire.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := i.send("room", "workflow_job", queued(t)); status != http.StatusAccepted {
		t.Errorf("status %d once there is room", status)
	}
}
