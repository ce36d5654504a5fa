package bubble_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"modal-github-runner/services/simulator/internal/check"
	"modal-github-runner/services/simulator/internal/world"
)

// traffic is what the people of an organization do.
type traffic struct {
	*universe

	rnd  *rand.Rand
	made int
	// until is when people go home.
	until time.Duration
}

// later has do happen in d from now, if somebody is still there then.
func (t *traffic) later(d time.Duration, do func()) {
	if t.agenda.now()+d < t.until {
		t.agenda.in(d, do)
	}
}

// kind is something that people do: how often beside other things, and for how many jobs of ours.
type kind struct {
	weight float64
	begin  func() (jobs int, do func())
}

// plan puts the given number of jobs on the agenda, or a few more, spread over span.
func (t *traffic) plan(jobs int, span time.Duration) {
	kinds := []kind{
		{55, t.single},
		{14, t.matrix},
		{3, t.burst},
		{9, t.cancelled},
		{5, t.approved},
		{5, t.repeated},
		{5, t.thief},
		{4, t.large},
		{2, t.foreign},
	}
	if t.options.org {
		kinds = append(kinds, kind{6, t.unseen})
	}
	total := 0.0
	for _, k := range kinds {
		total += k.weight
	}
	for planned := 0; planned < jobs; {
		draw := t.rnd.Float64() * total
		for _, k := range kinds {
			if draw -= k.weight; draw >= 0 {
				continue
			}
			n, do := k.begin()
			planned += n
			t.agenda.at(time.Duration(t.rnd.Int64N(int64(span))), do)
			break
		}
	}
}

// script is a job of 20 s to 20 min; one in ten fails.
func (t *traffic) script() script {
	s := script{lasts: 20*time.Second + time.Duration(t.rnd.ExpFloat64()*float64(3*time.Minute))}
	s.lasts = min(s.lasts, 20*time.Minute)
	if t.rnd.IntN(10) == 0 {
		s.code = check.FailCode
	}
	return s
}

func (t *traffic) jobs(n int, labels ...string) []world.JobSpec {
	specs := make([]world.JobSpec, n)
	for i := range specs {
		t.made++
		specs[i] = world.JobSpec{
			Name: fmt.Sprintf("job-%d", t.made), Labels: append([]string{"self-hosted"}, labels...),
			Steps: []world.StepSpec{{Run: t.script().command()}},
		}
	}
	return specs
}

func (t *traffic) start(what string, specs []world.JobSpec) (world.Run, []world.Job) {
	repo := "acme/app"
	if t.rnd.IntN(4) == 0 {
		repo = "acme/lib"
	}
	if repo == "acme/lib" && t.options.twoHooks {
		t.met("F03", len(specs))
	}
	return t.startIn(repo, what, specs)
}

func (t *traffic) startIn(repo, what string, specs []world.JobSpec) (world.Run, []world.Job) {
	run, jobs := t.dispatch(repo, specs...)
	t.story.tellf("%s: run %d, jobs %d to %d", what, run.ID, jobs[0].ID, jobs[len(jobs)-1].ID)
	return run, jobs
}

func (t *traffic) single() (int, func()) {
	specs := t.jobs(1, "modal")
	return 1, func() { t.start("job", specs) }
}

func (t *traffic) matrix() (int, func()) {
	specs := t.jobs(2+t.rnd.IntN(6), "modal")
	return len(specs), func() { t.start("matrix", specs) }
}

// burst is a matrix that is launched in more than one pull.
func (t *traffic) burst() (int, func()) {
	specs := t.jobs(20+t.rnd.IntN(20), "modal")
	return len(specs), func() {
		t.met("F15", 1)
		t.start("burst", specs)
	}
}

// cancelled is a run that is cancelled before its runners have come, or soon after.
func (t *traffic) cancelled() (int, func()) {
	specs, after := t.jobs(1+t.rnd.IntN(4), "modal"), time.Duration(t.rnd.Int64N(int64(25*time.Second)))
	return len(specs), func() {
		run, jobs := t.start("to be cancelled", specs)
		t.agenda.in(after, func() {
			for _, j := range jobs {
				if now, _ := t.github.World.Job(j.ID); now.Status == world.Queued {
					t.met("F05", 1)
				}
			}
			_ = t.github.World.CancelRun(run.ID) // It may have ended.
			t.story.tellf("cancelled: run %d", run.ID)
		})
	}
}

// approved is a job that waits for somebody.
func (t *traffic) approved() (int, func()) {
	specs, after := t.jobs(1, "modal"), time.Duration(t.rnd.Int64N(int64(40*time.Minute)))
	specs[0].Environment = "production"
	return 1, func() {
		_, jobs := t.start("to be approved", specs)
		t.later(after, func() {
			_ = t.github.World.Approve(jobs[0].ID) // It may have been cancelled.
			t.story.tellf("approved: job %d", jobs[0].ID)
		})
	}
}

// repeated is a run that somebody starts again.
func (t *traffic) repeated() (int, func()) {
	specs, after := t.jobs(1+t.rnd.IntN(2), "modal"), 10*time.Minute+time.Duration(t.rnd.Int64N(int64(time.Hour)))
	return 2 * len(specs), func() {
		run, _ := t.start("to be repeated", specs)
		t.later(after, func() {
			if _, jobs, err := t.github.World.Rerun(run.ID); err == nil {
				t.story.tellf("repeated: run %d, jobs from %d", run.ID, jobs[0].ID)
			}
		})
	}
}

// thief is a job that does not ask for us, and takes the runner of a job that does: the latter is queued just after it.
func (t *traffic) thief() (int, func()) {
	theirs, specs := t.jobs(1), t.jobs(1, "modal")
	return 1, func() {
		_, jobs := t.start("thief", theirs)
		_, victims := t.start("victim", specs)
		t.agenda.in(30*time.Minute, func() {
			if j, _ := t.github.World.Job(jobs[0].ID); j.RunnerName != "" {
				t.met("F06", 1)
			} else {
				_ = t.github.World.CancelJob(jobs[0].ID) // Nobody else would ever serve it.
			}
			t.story.tellf("thief %d and victim %d are over", jobs[0].ID, victims[0].ID)
		})
	}
}

// large is a job whose labels only some runners cover, with one beside it that any runner can take.
func (t *traffic) large() (int, func()) {
	big, small := t.jobs(1, "modal", "large"), t.jobs(1, "modal")
	return 2, func() {
		t.start("small", small)
		t.start("large", big)
	}
}

// foreign is a job for somebody else's runners.
func (t *traffic) foreign() (int, func()) {
	specs := t.jobs(1)
	specs[0].Labels = []string{"ubuntu-latest"}
	return 0, func() {
		_, jobs := t.start("foreign", specs)
		t.met("F16", 1)
		t.agenda.in(10*time.Minute, func() { _ = t.github.World.CancelJob(jobs[0].ID) })
	}
}

// unseen is a job that takes a runner of the organization's, and of which no webhook tells.
func (t *traffic) unseen() (int, func()) {
	theirs, specs := t.jobs(1, "modal"), t.jobs(1, "modal")
	return 1, func() {
		_, jobs := t.startIn("acme/"+hidden, "unseen thief", theirs)
		t.start("victim of the unseen", specs)
		t.agenda.in(time.Hour, func() {
			if j, _ := t.github.World.Job(jobs[0].ID); j.RunnerName != "" {
				t.met("F06", 1)
			}
			_ = t.github.World.CancelJob(jobs[0].ID) // It may have ended.
		})
	}
}

// leave cancels what nobody will ever serve, and what waits for an approval.
func (t *traffic) leave() {
	for _, j := range t.github.World.Jobs() {
		if !ours(j) || j.Status == world.Waiting {
			_ = t.github.World.CancelJob(j.ID) // It may have ended.
		}
	}
}
