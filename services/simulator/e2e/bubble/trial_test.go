package bubble_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"testing"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/simulator/internal/actionsrunner"
	"modal-github-runner/services/simulator/internal/world"
)

const (
	// buildTime is within what time there is an image with a new version.
	buildTime = 40 * time.Second
	// jobTime is within what time jobs are done whose runners start, deathTime of those whose first one dies before it registers, and
	// hangTime of those whose first one hangs: a sandbox has six minutes.
	jobTime   = 2 * time.Minute
	deathTime = 4 * time.Minute
	hangTime  = 9 * time.Minute
	// trialPause is how long a version that failed is left alone; three trials refuse it.
	trialPause = 10 * time.Minute
)

// versionIn finds the version of the runner in the commands that put it on an image.
var versionIn = regexp.MustCompile(`actions-runner-linux-x64-(\d+\.\d+\.\d+)\.tar\.gz`)

// versionOf is the version of the runner in the sandbox; empty if there is none of that id.
func (u *universe) versionOf(sandbox string) string {
	state := u.modal.Snapshot()
	for _, box := range state.Sandboxes {
		for _, layer := range state.Images {
			if found := versionIn.FindStringSubmatch(fmt.Sprint(layer.Dockerfile)); box.ID == sandbox && box.ImageID == layer.ID && found != nil {
				return found[1]
			}
		}
	}
	return ""
}

// trial is a universe in which new versions of the runner are released.
type trial struct {
	*universe

	jobs int
	seen map[string]bool // the sandboxes that were counted
}

func beginTrial(t *testing.T, seed uint64, warm int) *trial {
	t.Helper()
	u := &trial{universe: begin(t, options{seed: seed, workers: 2, ingress: 1, warm: warm}), seen: map[string]bool{}}
	u.boxes.versionOf = u.versionOf
	u.agenda.run(warmUp)
	return u
}

// publish releases a version, whose runners meet the fate, and has a worker look for it at once: it would within a day.
func (u *trial) publish(version string, f fate, by *node) {
	u.boxes.curseVersion(version, f)
	u.github.PublishRunner(version)
	u.restart(by)
}

func (u *trial) restart(n *node) {
	n.terminate()
	time.Sleep(5 * time.Second)
	n.start(softStop)
	time.Sleep(buildTime)
}

// queue dispatches so many jobs at once.
func (u *trial) queue(jobs int) (ids []int64) {
	specs := make([]world.JobSpec, jobs)
	for i := range specs {
		u.jobs++
		specs[i] = world.JobSpec{
			Name: fmt.Sprintf("job-%d", u.jobs), Labels: []string{"self-hosted", "modal"},
			Steps: []world.StepSpec{{Run: script{lasts: 30 * time.Second}.command()}},
		}
	}
	_, made := u.dispatch("acme/app", specs...)
	for _, j := range made {
		ids = append(ids, j.ID)
	}
	return ids
}

// wantServed checks that all jobs succeed within the limit, and how many sandboxes of each version were made since it did so last.
func (u *trial) wantServed(what string, limit time.Duration, jobs []int64, versions map[string]int) {
	u.t.Helper()
	time.Sleep(limit)
	for _, id := range jobs {
		if j, _ := u.github.World.Job(id); j.Conclusion != world.Success {
			u.t.Errorf("%s: job %d ended %q", what, id, j.Conclusion)
		}
	}
	made := map[string]int{}
	for _, box := range u.modal.Snapshot().Sandboxes {
		if !u.seen[box.ID] {
			u.seen[box.ID] = true
			made[u.versionOf(box.ID)]++
		}
	}
	if !maps.Equal(made, versions) {
		u.t.Errorf("%s: %v sandboxes were made by version, want %v", what, made, versions)
	}
}

// wantForgiven checks that one of the job's two attempts does not count against it.
func (u *trial) wantForgiven(job int64) {
	u.t.Helper()
	var record struct{ Attempts, Forgiven int }
	kv, err := u.js.KeyValue(u.t.Context(), wire.BucketRuns)
	if err != nil {
		u.t.Fatal(err)
	}
	entry, err := kv.Get(u.t.Context(), wire.JobKey(job))
	if err != nil {
		u.t.Fatal(err)
	}
	if err := json.Unmarshal(entry.Value(), &record); err != nil || record.Attempts != 2 || record.Forgiven != 1 {
		u.t.Errorf("the record of job %d: %+v, %v", job, record, err)
	}
}

func TestANewRunnerIsTriedByOneSandboxBeforeAllTakeIt(t *testing.T) {
	const first, silent, hangs, good = actionsrunner.Version, "2.338.0", "2.339.0", "2.340.0"
	inBubble(t, func(t *testing.T) {
		u := beginTrial(t, 9, 0)
		u.wantServed("the first version is taken at once", jobTime, u.queue(3), map[string]int{first: 3})

		u.publish(silent, stillFor, u.workers[0])
		u.wantServed("one of many tries a version that does not register", deathTime, u.queue(8), map[string]int{first: 8, silent: 1})
		u.restart(u.workers[1])
		u.wantServed("nobody tries it again at once, whoever looks", jobTime, u.queue(3), map[string]int{first: 3})
		for _, n := range u.workers {
			time.Sleep(trialPause)
			u.wantServed("another one tries it later", deathTime, u.queue(3), map[string]int{first: 3, silent: 1})
			u.restart(n)
		}
		time.Sleep(trialPause)
		u.wantServed("nobody tries it a fourth time", jobTime, u.queue(3), map[string]int{first: 3})

		u.publish(hangs, hung, u.workers[1])
		alone := u.queue(1)
		time.Sleep(30 * time.Second)
		for _, n := range u.workers {
			n.kill()
			n.start(softStop)
		}
		u.wantServed("the workers die while the only job tries a version that hangs", hangTime, alone, map[string]int{first: 1, hangs: 1})
		u.wantForgiven(alone[0])
		u.wantServed("it is not tried again at once", jobTime, u.queue(2), map[string]int{first: 2})

		u.publish(good, well, u.workers[0])
		cancelled := u.queue(1)
		time.Sleep(2 * time.Second)
		if err := u.github.World.CancelJob(cancelled[0]); err != nil {
			t.Fatal(err)
		}
		u.wantServed("the trial's job is cancelled, which proves nothing", jobTime, nil, map[string]int{good: 1})
		u.wantServed("another one tries it", jobTime, u.queue(4), map[string]int{first: 3, good: 1})
		u.wantServed("all take it", jobTime, u.queue(4), map[string]int{good: 4})
		time.Sleep(jobTime)
		u.checker.Settled(u.world())
		u.report()
	})
}

func TestANewRunnerIsTriedThoughASandboxWaitsForEachJob(t *testing.T) {
	const first, good = actionsrunner.Version, "2.338.0"
	inBubble(t, func(t *testing.T) {
		u := beginTrial(t, 10, 2)
		u.wantServed("each job has a sandbox that waited", jobTime, u.queue(2), map[string]int{first: 4})
		u.publish(good, well, u.workers[0])
		u.wantServed("one tries the version, which waited for none", jobTime, u.queue(1), map[string]int{good: 1})
		u.wantServed("all that are made from then on have it", jobTime, u.queue(2), map[string]int{good: 2})
		u.keepWarm(0)
		time.Sleep(jobTime)
		u.checker.Settled(u.world())
		u.report()
	})
}
