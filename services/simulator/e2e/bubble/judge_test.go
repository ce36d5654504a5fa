package bubble_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/simulator/internal/check"
	"modal-github-runner/services/simulator/internal/world"
)

// lookLimit bounds a look at the broker, in the bubble's time.
const lookLimit = 30 * time.Second

// limits are the sums of what one after the other may have to be waited for in a storm, outages left out. The workers' clocks are off
// by clockError, so that two of them differ by twice that. GitHub's word to stop holds for a minute, and then sweeps go first.
var limits = check.Limits{
	// A sandbox ends by itself with its job. One that does not is ended by its job's completed event, which may have to be sent again.
	Tidy: 6 * time.Minute,
	// A sandbox that hangs: 6 min until one must have started, by two clocks; a message that was put off by a third clock; a look, and a
	// stop of GitHub's in it; and it lingers.
	Idle: 6*time.Minute + 3*clockError + time.Minute + time.Minute + time.Minute,
	// The same, if its job has another runner as soon as it is there.
	Surplus: 6*time.Minute + 3*clockError + time.Minute + time.Minute + time.Minute,
	Overlap: 2 * time.Minute,
	// It waits for an hour and half as long. Its pool's keeper ends it after one, by another clock.
	Warm: 90*time.Minute + 2*time.Minute,
	// Grace until its sandbox is missed, by a clock that is behind; 15 s until the sweep for that comes by, and as much until another
	// worker leads; grace after its runner's end, by two clocks; the period of the sweep for registrations; a stop.
	Register: 2*time.Minute + clockError + 30*time.Second + 2*time.Minute + 2*clockError + 2*time.Minute + time.Minute,
	// The job's start comes late, a quarter of an hour, and at the second attempt, after 5 min; half an hour without a change, by a clock
	// that is behind; the period of the sweep that asks then, a stop, and three questions that fail.
	Hear:           15*time.Minute + 5*time.Minute + 30*time.Minute + clockError + time.Minute + time.Minute + 3*time.Minute,
	CallsPerMinute: 120,
}

const calmSurplus = 30 * time.Second

// ours reports whether a job is one that the services are to serve.
func ours(j world.Job) bool {
	return slices.Contains(j.Labels, wire.DefaultLabel) && j.Repo != "acme/"+hidden
}

// witness carries webhooks, and notes which queued jobs were accepted.
type witness struct {
	next http.RoundTripper

	mu       sync.Mutex
	accepted map[int64]time.Time
}

// RoundTrip implements http.RoundTripper.
func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := w.next.RoundTrip(req)
	if err != nil || resp.StatusCode > 299 {
		return resp, err
	}
	var event struct {
		Action string
		Job    struct {
			ID     int64
			Labels []string
		} `json:"workflow_job"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return nil, err
	}
	if event.Action == "queued" && slices.Contains(event.Job.Labels, wire.DefaultLabel) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, ok := w.accepted[event.Job.ID]; !ok {
			w.accepted[event.Job.ID] = time.Now()
		}
	}
	return resp, nil
}

// jobs are those accepted so far.
func (w *witness) jobs() map[int64]time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.accepted)
}

// watch connects the judge to the broker, by a link that nothing befalls.
func (u *universe) watch() {
	u.t.Helper()
	conn, err := nats.Connect("", via(newLink(), u.broker), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second), nats.RetryOnFailedConnect(true))
	if err != nil {
		u.t.Fatal(err)
	}
	u.judge = conn
	if u.js, err = jetstream.New(conn); err != nil {
		u.t.Fatal(err)
	}
	bounds := limits
	if u.options.calm {
		bounds.Surplus = calmSurplus
	}
	u.checker = check.New(check.Options{
		Limits: bounds, Ours: ours, Blamed: func(id string) bool { return u.boxes.fateOf(id) != well },
	})
}

// outage begins a time in which no deadline can be kept; the judge knows of it at once.
func (u *universe) outage(what string) { u.outages[what] = time.Now() }

// tellOutages tells the judge of the outages so far.
func (u *universe) tellOutages() {
	for what, from := range u.outages {
		u.checker.Outage(check.Interval{From: from, To: time.Now()})
		u.outages[what] = time.Now()
	}
}

func (u *universe) outageOver(what string) {
	u.tellOutages()
	delete(u.outages, what)
}

// world is all that can be seen now. Of a broker that is down nothing can be.
func (u *universe) world() check.World {
	accepted := u.witness.jobs()
	for job, at := range accepted {
		u.checker.Accepted(job, at)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
	defer cancel()
	stored, err := check.Read(ctx, u.js, slices.Collect(maps.Keys(accepted)))
	if err != nil {
		u.story.tellf("no look at the broker: %v", err)
	}
	u.tellOutages()
	modal := u.modal.Snapshot()
	calls := 0
	for _, codes := range u.github.APIStats().Calls {
		for _, n := range codes {
			calls += n
		}
	}
	return check.World{
		At: time.Now(), Jobs: u.github.World.Jobs(), Runners: u.github.World.Runners(world.Scope{}), Registered: u.github.World.Registered(),
		Sandboxes: modal.Sandboxes, MostPerName: modal.MaxPerName, Calls: calls, Stored: stored,
	}
}

// look judges the world every so often, from now on.
func (u *universe) look(every time.Duration) {
	u.checker.Look(u.world())
	u.agenda.in(every, func() { u.look(every) })
}

// met counts a fault as exercised.
func (u *universe) met(fault string, n int) { u.exercised[fault] += n }

// toAdmin dials the admin listener of a worker that runs.
func (u *universe) toAdmin(ctx context.Context, _, _ string) (net.Conn, error) {
	return u.network.dial(ctx, u.workers[0].admin)
}

// summary is what became of the jobs.
func (u *universe) summary() string {
	ends := map[string]int{}
	var waits []time.Duration
	for _, j := range u.github.World.Jobs() {
		ends[strings.TrimSpace(string(j.Status)+" "+string(j.Conclusion))]++
		if ours(j) && j.RunnerName != "" {
			waits = append(waits, j.StartedAt.Sub(j.QueuedAt).Round(time.Second))
		}
	}
	slices.Sort(waits)
	part := func(n int) time.Duration {
		if len(waits) == 0 {
			return 0
		}
		return waits[(len(waits)-1)*n/100]
	}
	return fmt.Sprintf("%v; %d sandboxes; half of the jobs waited up to %v, 99 of 100 up to %v, all up to %v",
		ends, len(u.modal.Snapshot().Sandboxes), part(50), part(99), part(100))
}
