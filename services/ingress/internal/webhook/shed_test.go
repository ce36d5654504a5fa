package webhook_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/ingress/internal/limit"
	"modal-github-runner/services/ingress/internal/webhook"
)

// limits counts the deliveries that were throttled, by what.
func (r *rig) limits() map[webhook.Limit]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[webhook.Limit]int{}
	for _, d := range r.deliveries {
		if d.Limit != "" {
			seen[d.Limit]++
		}
	}
	return seen
}

// crowd sends so many signed jobs of one installation, each once the one before is at work or answered. What it returns
// waits for all answers and counts the jobs accepted.
func (r *rig) crowd(t *testing.T, installation, number int) (accepted func() int) {
	t.Helper()
	body := replace(t, ours(t), `"id": 3456996`, fmt.Sprintf(`"id": %d`, installation))
	var senders sync.WaitGroup
	answers := make([]int, number)
	for n := range number {
		senders.Go(func() {
			request := signed(body)
			request.Header.Set("X-Github-Delivery", fmt.Sprintf("%d-%d-%d", installation, n, time.Now().UnixNano()))
			answers[n] = r.send(request).Code
		})
		synctest.Wait()
	}
	return func() int {
		senders.Wait()
		count := 0
		for _, status := range answers {
			if status == http.StatusAccepted {
				count++
			}
		}
		return count
	}
}

func TestANoisyTenantLeavesHalfOfThePlacesToTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		const noisy, quiet = 1, 2
		if accepted := r.crowd(t, noisy, tenantRate.Burst)(); accepted != tenantRate.Burst {
			t.Fatalf("%d accepted although nothing is short", accepted)
		}
		r.queue.takes = time.Second
		noise := r.crowd(t, noisy, 10*places)
		synctest.Wait()
		if at := r.inFlight.Now(); at != places/2 {
			t.Errorf("the noisy one has %d of %d places", at, places)
		}
		others := r.crowd(t, quiet, places/2)
		if got := others(); got != places/2 {
			t.Errorf("%d of %d of the quiet one are accepted", got, places/2)
		}
		if got := noise(); got != places/2 {
			t.Errorf("%d of the noisy one are accepted, want %d", got, places/2)
		}
		if want := map[webhook.Limit]int{webhook.InstallationRate: 10*places - places/2}; !maps.Equal(r.limits(), want) {
			t.Errorf("throttled: %v, want %v", r.limits(), want)
		}
	})
}

func TestWhileNothingIsShortRatesRefuseNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if accepted := r.crowd(t, 1, 5*tenantRate.Burst)(); accepted != 5*tenantRate.Burst {
			t.Errorf("%d of %d jobs of a tenant beyond its rate are accepted", accepted, 5*tenantRate.Burst)
		}
		for n := range 5 * sourceRate.Burst {
			if status := r.send(forged(internet)).Code; status != http.StatusUnauthorized {
				t.Fatalf("request %d of a stranger: %d", n, status)
			}
		}
	})
}

func TestATenantWithinItsRateMayTakeAllPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.queue.takes = time.Second
		for burst := 0; burst < tenantRate.Burst; burst += places {
			number := min(places, tenantRate.Burst-burst)
			if got := r.crowd(t, 1, number)(); got != number {
				t.Errorf("%d of %d are accepted", got, number)
			}
		}
	})
}

func TestWhatIsIgnoredIsChargedToNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.occupy(places - 1)
	for range 2 * tenantRate.Burst {
		if status := r.send(signed(payload(t, "workflow_job/queued.payload.json"))).Code; status != http.StatusAccepted {
			t.Fatalf("status %d", status)
		}
	}
	if status := r.send(signed(ours(t))).Code; status != http.StatusAccepted || len(r.queue.stored) != 1 {
		t.Errorf("status %d, %d stored", status, len(r.queue.stored))
	}
}

const internet, github = "198.51.100.1", "203.0.113.1"

// through sends a request from an address through the proxy that the rig trusts.
func through(from string, r *http.Request) *http.Request {
	r.Header.Set("X-Forwarded-For", from)
	return r
}

// forged is a request of somebody who does not know the secret.
func forged(from string) *http.Request {
	r := signed("{}")
	r.Header.Set("X-Hub-Signature-256", sign("guess", "{}"))
	return through(from, r)
}

func TestAStrangerWhoSendsMuchIsRefusedBeforeOthersAre(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for range sourceRate.Burst {
			r.send(forged(internet))
		}
		// Bodies on their way take more than half of the room.
		for range room/limit.EntryCost/2 + 1 {
			r.bodies.Enter(func() {})
		}
		expect := func(who string, request *http.Request, want int) {
			t.Helper()
			response := r.send(request)
			if response.Code != want || (response.Header().Get("Retry-After") != "") != (want == http.StatusServiceUnavailable) {
				t.Errorf("%s: %d, Retry-After %q", who, response.Code, response.Header().Get("Retry-After"))
			}
		}
		expect("the stranger", forged(internet), http.StatusServiceUnavailable)
		expect("another stranger", forged("198.51.100.2"), http.StatusUnauthorized)
		expect("GitHub", through(github, signed(ours(t))), http.StatusAccepted)
		expect("the stranger, who writes GitHub's address", forged(github+", "+internet), http.StatusServiceUnavailable)
		if want := map[webhook.Limit]int{webhook.SourceRate: 2}; !maps.Equal(r.limits(), want) {
			t.Errorf("throttled: %v, want %v", r.limits(), want)
		}
		if log := r.log.String(); !strings.Contains(log, "limit=source_rate") {
			t.Errorf("log:\n%s", log)
		}
		time.Sleep(time.Second)
		expect("the stranger, a second later", forged(internet), http.StatusUnauthorized)
		expect("the stranger's next", forged(internet), http.StatusServiceUnavailable)
	})
}

func TestWhoCameThroughGitHubsProxyDoesNotKeepGitHubOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const proxy = github
	r.send(through(proxy, signed(ours(t))))
	for range 5 * sourceRate.Burst {
		r.send(forged(proxy))
	}
	for range room/limit.EntryCost/2 + 1 {
		r.bodies.Enter(func() {})
	}
	if status := r.send(through(proxy, signed(ours(t)))).Code; status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
}
