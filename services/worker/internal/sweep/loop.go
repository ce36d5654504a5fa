package sweep

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// grace is how old what a sweep acts on must be. Within it, the messages that are under way set right whatever there is: a
// launch takes a minute at most, and what failed is handled again within half a minute.
const grace = 2 * time.Minute

// runTimeout bounds one run of a sweep, so that a call without an end costs one run only. Most runs take seconds.
const runTimeout = 10 * time.Minute

// leastPause is how long at least a run that was held back is from the next one.
const leastPause = time.Second

// maxFailures is how many failures end a run: that many are no accident.
const maxFailures = 10

// Kind is what a sweep finds. The values are those of the metric's label.
type Kind string

// The kinds, by the sweep that finds them.
const (
	Unrecorded   Kind = "sandbox_without_record"
	Outlived     Kind = "sandbox_of_ended_runner"
	Vanished     Kind = "runner_without_sandbox"
	Unfinished   Kind = "runner_of_finished_job"
	Spare        Kind = "spare_runner"
	Uncounted    Kind = "runner_not_counted_on"
	Abandoned    Kind = "launch_abandoned"
	Late         Kind = "runner_without_job"
	Unregistered Kind = "registration_without_runner"
	Stray        Kind = "warm_sandbox_without_record"
	Cooled       Kind = "warm_sandbox_gone"

	Spoilt Kind = "warm_sandbox_not_ready"

	Unstarted Kind = "job_without_runner"
	Restarted Kind = "job_still_queued"
	Holding   Kind = "job_is_held"
	Begun     Kind = "job_is_running"
	Over      Kind = "job_is_over"
	Deleted   Kind = "job_is_gone"

	Undelivered Kind = "delivery_failed"
	Unheard     Kind = "job_not_heard_of"
	Unreadable  Kind = "unreadable"
)

// Report is what one run of a sweep found, and did about it.
type Report struct {
	Found map[Kind]int
	// Runs counts the records of jobs by state, Sandboxes what Modal runs by the state of its runner's record. Nil from a sweep
	// that does not see all of them.
	Runs      map[run.State]int
	Sandboxes map[run.RunnerState]int
	// Neglected is by pool since when the job waits that has waited longest though nothing known holds it back. Nil from
	// a sweep that does not look.
	Neglected map[string]time.Time
	// Room is who holds places and who waits for one. Nil from a sweep that does not look.
	Room *Room
	// Warm is how many sandboxes of each pool wait for a runner, ready to be given one. Nil from a sweep that does not look.
	Warm map[string]int
}

// tally makes a Report, and collects what went wrong on the way.
type tally struct {
	Report

	errs []error
}

// found counts what was found, if that could be acted on. It reports whether the run is to end here, since more calls would
// only fail as well: GitHub or Modal has no room for them now, or too many have failed.
func (t *tally) found(kind Kind, err error) (stop bool) {
	if err != nil {
		t.errs = append(t.errs, err)
		_, limited := errors.AsType[*run.LimitedError](err)
		return limited || len(t.errs) >= maxFailures
	}
	if kind != "" {
		if t.Found == nil {
			t.Found = map[Kind]int{}
		}
		t.Found[kind]++
	}
	return false
}

func (t *tally) result() (Report, error) { return t.Report, errors.Join(t.errs...) }

// Loop is a sweep and how often it runs.
type Loop struct {
	Name  string
	Every time.Duration
	// RunOnce is called once at a time.
	RunOnce func(context.Context) (Report, error)
}

// Observer is told how each run of a loop went, for metrics. It must not block. A run with an error may have a report too.
type Observer interface {
	Swept(loop string, r Report, err error)
}

// Run runs each loop at once and then as often as it says, until ctx ends; and in between as soon as there is room for a run that
// GitHub or Modal had no room for: who only came by in its time could find no room each time. It returns when no run is left.
func Run(ctx context.Context, loops []Loop, o Observer, log *slog.Logger) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, l := range loops {
		running.Go(func() { l.run(ctx, o, log.With(slog.String("loop", l.Name))) })
	}
}

func (l Loop) run(ctx context.Context, o Observer, log *slog.Logger) {
	ticker := time.NewTicker(l.Every)
	defer ticker.Stop()
	for last := (outcome{}); ; {
		last = l.once(ctx, o, log, last)
		var room <-chan time.Time
		if last.held != nil {
			room = time.After(max(leastPause, time.Until(last.held.Until)))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-room:
		}
	}
}

// outcome is what a run leaves for the next one.
type outcome struct {
	// found and reason are what was logged.
	found  map[Kind]int
	reason string
	// held is for how long there is no room; nil if there was enough.
	held *run.LimitedError
}

// once runs the sweep. What it found is told when that is not what the last run found, and a failure when its reason is new.
func (l Loop) once(ctx context.Context, o Observer, log *slog.Logger, last outcome) outcome {
	limited, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	report, err := l.RunOnce(limited)
	if ctx.Err() != nil { // Stopped in the middle, which is no failure.
		return last
	}
	o.Swept(l.Name, report, err)
	this := outcome{found: report.Found}
	if len(this.found) > 0 && !maps.Equal(this.found, last.found) {
		log.LogAttrs(ctx, slog.LevelInfo, "sweep found something", slog.Any("found", this.found))
	}
	if err != nil {
		this.reason = err.Error()
		this.held, _ = errors.AsType[*run.LimitedError](err)
	}
	if this.reason != "" && this.reason != last.reason {
		log.LogAttrs(ctx, slog.LevelWarn, "sweep failed", slog.Any("err", err))
	}
	return this
}
