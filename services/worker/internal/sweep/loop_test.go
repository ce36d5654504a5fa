package sweep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// observer remembers what it was told.
type observer struct {
	mu    sync.Mutex
	swept []string
}

func (o *observer) Swept(loop string, _ sweep.Report, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		loop += ": " + err.Error()
	}
	o.swept = append(o.swept, loop)
}

// loops runs loops for a while, and returns what was seen of them and logged.
func loops(t *testing.T, d time.Duration, l ...sweep.Loop) (swept []string, log string) {
	t.Helper()
	var out bytes.Buffer
	o := &observer{}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	sweep.Run(ctx, l, o, slog.New(slog.NewTextHandler(&out, nil)))
	return o.swept, out.String()
}

func TestALoopRunsAtOnceAndThenInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		swept, _ := loops(t, 35*time.Second, sweep.Loop{Name: "a", Every: 10 * time.Second, RunOnce: func(context.Context) (sweep.Report, error) {
			at = append(at, time.Since(began))
			return sweep.Report{}, nil
		}})
		if diff := cmp.Diff([]time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second}, at); diff != "" || len(swept) != 4 {
			t.Errorf("%v, %s", swept, diff)
		}
	})
}

// GitHub says to wait a minute, each time as long as a loop that comes by every two minutes could see it.
func TestALoopThatWasHeldBackRunsAgainAsSoonAsItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		held := func(d time.Duration) error {
			return fmt.Errorf("list: %w", &run.LimitedError{Until: began.Add(d), Err: errAway})
		}
		script := []error{held(50 * time.Second), held(50 * time.Second), held(0), nil, held(10 * time.Minute), nil}
		loops(t, 5*time.Minute, sweep.Loop{Name: "a", Every: 2 * time.Minute, RunOnce: func(context.Context) (sweep.Report, error) {
			at = append(at, time.Since(began))
			return sweep.Report{}, script[len(at)-1]
		}})
		want := []time.Duration{0, 50 * time.Second, 51 * time.Second, 52 * time.Second, 2 * time.Minute, 4 * time.Minute}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Error(diff)
		}
	})
}

func TestASlowLoopDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := false
		slow := func(ctx context.Context) (sweep.Report, error) {
			<-ctx.Done()
			stopped = true
			return sweep.Report{}, ctx.Err()
		}
		quick := func(context.Context) (sweep.Report, error) { return sweep.Report{}, nil }
		swept, log := loops(t, time.Minute-1, sweep.Loop{Name: "slow", Every: time.Second, RunOnce: slow}, sweep.Loop{Name: "quick", Every: 20 * time.Second, RunOnce: quick})
		if diff := cmp.Diff([]string{"quick", "quick", "quick"}, swept); diff != "" {
			t.Error(diff)
		}
		if !stopped || log != "" { // Run waits for it; a run that is stopped is no failure.
			t.Errorf("stopped: %v, log: %s", stopped, log)
		}
	})
}

func TestARunWithoutAnEndIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		swept, _ := loops(t, 25*time.Minute, sweep.Loop{Name: "a", Every: time.Minute, RunOnce: func(ctx context.Context) (sweep.Report, error) {
			<-ctx.Done()
			return sweep.Report{}, ctx.Err()
		}})
		if diff := cmp.Diff([]string{"a: context deadline exceeded", "a: context deadline exceeded"}, swept); diff != "" {
			t.Error(diff)
		}
	})
}

func TestALoopGoesOnAfterAFailureAndLogsWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		script := []error{errAway, errAway, nil, errAway, errors.New("another")}
		swept, log := loops(t, 5*time.Second-1, sweep.Loop{Name: "a", Every: time.Second, RunOnce: func(context.Context) (sweep.Report, error) {
			n++
			return sweep.Report{Found: map[sweep.Kind]int{sweep.Spare: min(n, 3)}}, script[n-1]
		}})
		if len(swept) != 5 || swept[2] != "a" || swept[4] != "a: another" {
			t.Errorf("got %q", swept)
		}
		if failures := strings.Count(log, "sweep failed"); failures != 3 {
			t.Errorf("%d failures in the log, want each one that is new:\n%s", failures, log)
		}
		if found := strings.Count(log, "sweep found something"); found != 3 || !strings.Contains(log, "loop=a found=map[spare_runner:3]") {
			t.Errorf("%d findings in the log:\n%s", found, log)
		}
	})
}
