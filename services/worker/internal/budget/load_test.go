package budget

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/worker/internal/run"
)

// limiter counts as GitHub does: the points of the last sixty seconds, and the requests under way.
type limiter struct {
	mu       sync.Mutex
	arrivals []arrival
	sum      int
	inFlight int
	refused  int
}

func (l *limiter) begin(points int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for len(l.arrivals) > 0 && now.Sub(l.arrivals[0].at) >= time.Minute {
		l.sum -= l.arrivals[0].points
		l.arrivals = l.arrivals[1:]
	}
	l.arrivals = append(l.arrivals, arrival{now, points})
	l.sum += points
	l.inFlight++
	if l.sum > 900 || l.inFlight > 100 {
		l.refused++
	}
}

func (l *limiter) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
}

// crowd asks GitHub through several workers.
type crowd struct {
	workers []*Budget
	github  limiter

	mu    sync.Mutex
	rnd   *rand.Rand
	asked int // how often there was no room
}

func (c *crowd) draw(most time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.rnd.Int64N(int64(most)))
}

// ask sends a request if there is room, and returns how long to wait if there is none.
func (c *crowd) ask(ctx context.Context, t *testing.T, worker int, r Request) (wait time.Duration) {
	t.Helper()
	done, err := c.workers[worker].Take(ctx, caller, r)
	if limited, ok := errors.AsType[*run.LimitedError](err); ok {
		c.mu.Lock()
		c.asked++
		c.mu.Unlock()
		return max(time.Nanosecond, time.Until(limited.Until))
	}
	if err != nil {
		if ctx.Err() == nil {
			t.Errorf("take: %v", err)
		}
		return 0
	}
	defer done()
	time.Sleep(c.draw(200 * time.Millisecond)) // Its way to GitHub.
	c.github.begin(r.Points)
	time.Sleep(300*time.Millisecond + c.draw(time.Second))
	c.github.end()
	return 0
}

// launch registers a runner for a job of the repository, which comes soon.
func (c *crowd) launch(ctx context.Context, t *testing.T, worker int, repo string) {
	t.Helper()
	time.Sleep(c.draw(5 * time.Second)) // The webhooks do not come in one moment.
	r := Request{Lane: Launch, Points: 5, Of: repo}
	for wait := c.ask(ctx, t, worker, r); wait > 0; wait = c.ask(ctx, t, worker, r) {
		time.Sleep(wait + time.Second + c.draw(time.Second)) // As a launch waits; see run.Backoff.
	}
}

// Ten thousand jobs are queued at once, before four workers. GitHub refuses nothing, and all are registered about as early as
// its limit allows, while sweeps and deletes want their part as well.
func TestTenThousandRegistrationsTakeAsLongAsGitHubsLimitSays(t *testing.T) {
	faultstest.Cover(t, "F15")
	const workers = 4
	jobs := 10_000
	if testing.Short() { // The race detector makes it slow.
		jobs = 2_000
	}
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		c := &crowd{rnd: rand.New(rand.NewPCG(1, 2))}
		for n := range workers {
			c.workers = append(c.workers, newBudget(t, js, fmt.Sprint("worker-", n)))
		}
		began := time.Now()
		ctx, over := context.WithCancel(t.Context())
		var launching, others sync.WaitGroup
		for _, o := range []Request{{Lane: Sweep, Points: 1}, {Lane: Sweep, Points: 1}, {Lane: Delete, Points: 5}} {
			others.Go(func() {
				for ctx.Err() == nil {
					time.Sleep(c.ask(ctx, t, 0, o))
				}
			})
		}
		for n := range jobs {
			launching.Go(func() { c.launch(ctx, t, n%workers, "acme/matrix") })
		}
		launching.Wait()
		took := time.Since(began)
		over()
		others.Wait()

		// 180 at once, and 180 after each minute.
		least := time.Duration((jobs-1)/180) * time.Minute
		t.Logf("%d registrations took %v of at least %v (%.1f %% more); there was no room %.1f times for each",
			jobs, took, least, 100*(took-least).Seconds()/least.Seconds(), float64(c.asked)/float64(jobs))
		if c.github.refused != 0 {
			t.Errorf("GitHub would have refused %d requests", c.github.refused)
		}
		if took > least*105/100 {
			t.Error("that is more than 5 % above")
		}
		// Who is told to come back must not come in vain again and again: each time costs writes of the ledger.
		if c.asked > 12*jobs {
			t.Errorf("there was no room %d times", c.asked)
		}
	})
}

// GitHub's limit has 2,000 jobs of one repository take 11 minutes. Jobs of others come a bit later.
func TestJobsOfOtherRepositoriesAreNotBehindAMatrixThatWaitsForGitHub(t *testing.T) {
	const workers, matrix, others = 4, 2000, 20
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		c := &crowd{rnd: rand.New(rand.NewPCG(1, 2))}
		for n := range workers {
			c.workers = append(c.workers, newBudget(t, js, fmt.Sprint("worker-", n)))
		}
		began := time.Now()
		var all sync.WaitGroup
		for n := range matrix {
			all.Go(func() { c.launch(t.Context(), t, n%workers, "acme/matrix") })
		}
		var waits [others]time.Duration
		for n := range others {
			all.Go(func() {
				time.Sleep(2*time.Minute + time.Duration(n)*10*time.Second)
				came := time.Now()
				c.launch(t.Context(), t, n%workers, fmt.Sprint("acme/other-", n))
				waits[n] = time.Since(came)
			})
		}
		all.Wait()
		slices.Sort(waits[:])
		t.Logf("the matrix took %v; half of the others waited for at most %v, all for %v", time.Since(began), waits[others/2], waits[others-1])
		if waits[others-1] > 3*time.Minute {
			t.Error("that is longer than three turns at GitHub, of a minute each")
		}
	})
}
