package hooks_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// post is a transport that answers without a network, so that these tests live in a bubble.
type post func(*http.Request) (*http.Response, error)

func (p post) RoundTrip(r *http.Request) (*http.Response, error) { return p(r) }

func newHooks(t *testing.T, faults *fault.Injector, transport post) (*hooks.Hooks, hooks.Hook) {
	h := hooks.New(hooks.Options{Links: shape.Public(), Faults: faults, Transport: transport, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(h.Close)
	return h, h.Add(hooks.Hook{Kind: hooks.App, TargetID: 1, URL: "http://receiver.test/", Secret: "s"})
}

func event() world.Event {
	return world.Event{
		Action: "queued", Job: world.Job{ID: 1, Repo: "acme/app", Name: "build", Status: world.Queued, Labels: []string{"modal"}},
		Repo: world.Repo{ID: 2, Owner: "acme", Name: "app"}, Owner: world.Owner{ID: 3, Login: "acme", Org: true}, Installation: 4, At: time.Now(),
	}
}

func accepted(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusAccepted, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("ok"))}, nil
}

func TestSlowReceiverTimesOutAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, hook := newHooks(t, nil, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		h.JobEvent(event())
		time.Sleep(10*time.Second - time.Nanosecond)
		synctest.Wait()
		if got := h.Stats().Failed; got != 0 {
			t.Errorf("%d failed before the limit", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		list, _ := h.Deliveries(hooks.Query{Hook: hook.ID, Limit: 10})
		if len(list) != 2 || list[0]["status"] != "timed out" || list[0]["status_code"] != 0 {
			t.Errorf("listed %+v, want the ping and the event timed out", list)
		}
	})
}

func TestAJobIsAcceptedOnceAWebhookSaysThatItIsQueuedAndIsAnsweredWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := http.StatusServiceUnavailable
		h, _ := newHooks(t, nil, func(r *http.Request) (*http.Response, error) {
			resp, err := accepted(r)
			resp.StatusCode = status
			return resp, err
		})
		for _, tt := range []struct {
			name   string
			action string
			status int
			want   []int64
		}{
			{"one that is refused", "queued", http.StatusServiceUnavailable, []int64{}},
			{"another action", "in_progress", http.StatusAccepted, []int64{}},
			{"one that is stored", "queued", http.StatusAccepted, []int64{1}},
			{"the same once more", "queued", http.StatusAccepted, []int64{1}},
		} {
			status = tt.status
			e := event()
			e.Action = tt.action
			h.JobEvent(e)
			synctest.Wait()
			if got := h.Accepted(); !slices.Equal(got, tt.want) {
				t.Errorf("after %s: %v, want %v", tt.name, got, tt.want)
			}
		}
	})
}

func TestDeliveriesAreKeptThreeDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, hook := newHooks(t, nil, accepted)
		h.JobEvent(event())
		synctest.Wait()
		list, _ := h.Deliveries(hooks.Query{Hook: hook.ID, Limit: 10})
		id := list[0]["id"].(int64)
		time.Sleep(3*24*time.Hour - time.Second)
		if err := h.Redeliver(hook.ID, id); err != nil {
			t.Errorf("within three days: %v", err)
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if err := h.Redeliver(hook.ID, id); !errors.Is(err, hooks.ErrNotFound) {
			t.Errorf("after three days: %v, want ErrNotFound", err)
		}
		if list, _ := h.Deliveries(hooks.Query{Hook: hook.ID, Limit: 10}); len(list) != 1 {
			t.Errorf("%d deliveries are listed, want the redelivery alone", len(list))
		}
	})
}

func TestNoMoreThanTwentyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var now, most int
		h, _ := newHooks(t, nil, func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return accepted(r)
		})
		for range 59 { // and the ping
			h.JobEvent(event())
		}
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		if got := h.Stats(); most != 20 || got.OK != 60 || got.Pending != 0 {
			t.Errorf("at most %d at once, %+v; want 20 and 60 delivered in three rounds", most, got)
		}
	})
}

func TestLatencyDelaysWithoutHoldingOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := fault.New(1)
		if err := faults.Set([]fault.Rule{{Op: "webhook.queued", Times: 1, Latency: fault.Duration(time.Minute)}}); err != nil {
			t.Fatal(err)
		}
		h, _ := newHooks(t, faults, accepted)
		h.JobEvent(event())
		h.JobEvent(event())
		synctest.Wait()
		if got := h.Stats(); got.OK != 2 || got.Pending != 1 {
			t.Errorf("at once: %+v, want the ping and one event, one pending", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := h.Stats(); got.OK != 3 || got.Pending != 0 {
			t.Errorf("a minute later: %+v, want all three", got)
		}
	})
}

func TestCloseGivesUpWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHooks(t, nil, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		for range 50 {
			h.JobEvent(event())
		}
		h.Close() // the bubble fails if a goroutine outlives it
		h.JobEvent(event())
		if got := h.Stats().Sent; got > 20 {
			t.Errorf("%d were sent, want no more than were under way", got)
		}
	})
}
