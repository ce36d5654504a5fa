package scenario_test

import (
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo/scenario"
	"modal-github-runner/services/simulator/internal/fakegithub/checks"
	"modal-github-runner/services/simulator/internal/fakegithub/control"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/world"
)

func TestEachJobOfTheScenarioSaysHowItEnds(t *testing.T) {
	jobs, err := scenario.Jobs()
	if err != nil || len(jobs) == 0 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	names := map[string]bool{}
	for _, j := range jobs {
		if names[j.Name] || j.Shows == "" || j.Repo == "" || len(j.Labels) == 0 || len(j.Steps) == 0 {
			t.Errorf("incomplete, or there twice: %+v", j)
		}
		names[j.Name] = true
		switch refused := j.Told != ""; {
		case j.Ends == scenario.Refused && refused, j.Ends == scenario.Success && !refused:
		default:
			t.Errorf("job %s ends %q and is told %q", j.Name, j.Ends, j.Told)
		}
	}
}

func TestAJobIsJudgedByHowItEnded(t *testing.T) {
	fine := scenario.Job{Ends: scenario.Success, Sandbox: scenario.Sandbox{GPU: "T4", Runtime: "vm", Cache: "/a/b/c"}}
	fine.Name = "job"
	refused := scenario.Job{Ends: scenario.Refused, Told: "too much"}
	refused.Name = "job"
	job := func(status world.Status, conclusion world.Conclusion) control.State {
		return control.State{Jobs: []world.Job{{ID: 7, Name: "job", Status: status, Conclusion: conclusion}, {ID: 8, Name: "other"}}}
	}
	told := func(summary string) control.State {
		s := job(world.Queued, "")
		s.CheckRuns = []checks.Run{{ExternalID: "8", Summary: "other"}, {ExternalID: "7", Summary: summary}}
		return s
	}
	made := func(change func(*sandbox.Record)) fakemodal.Snapshot {
		r := sandbox.Record{
			Tags: map[string]string{"job-id": "7"}, GPU: "T4", Runtime: "vm", Mounts: []sandbox.Mount{{Path: "/cache", SubPath: "/a/b/c"}}, EndedAt: time.Now(),
		}
		change(&r)
		return fakemodal.Snapshot{Snapshot: sandbox.Snapshot{Sandboxes: []sandbox.Record{r}}}
	}
	as := made(func(*sandbox.Record) {})
	const lacking = "none of 1 sandboxes had what it asks for"
	for name, test := range map[string]struct {
		job    scenario.Job
		github control.State
		modal  fakemodal.Snapshot
		over   bool
		err    string // looked at if it is over
	}{
		"a job that GitHub does not know yet": {fine, control.State{}, fakemodal.Snapshot{}, false, ""},
		"a job that runs":                     {fine, job(world.InProgress, ""), as, false, ""},
		"a job whose sandbox has not ended":   {fine, job(world.Completed, world.Success), made(func(r *sandbox.Record) { r.EndedAt = time.Time{} }), false, ""},
		"a job that succeeded":                {fine, job(world.Completed, world.Success), as, true, ""},
		"a job that failed":                   {fine, job(world.Completed, world.Failure), as, true, "it ended in failure"},
		"one with another GPU":                {fine, job(world.Completed, world.Success), made(func(r *sandbox.Record) { r.GPU = "L4" }), true, lacking},
		"one in another runtime":              {fine, job(world.Completed, world.Success), made(func(r *sandbox.Record) { r.Runtime = "" }), true, lacking},
		"one with the cache of another":       {fine, job(world.Completed, world.Success), made(func(r *sandbox.Record) { r.Mounts[0].SubPath = "/a/b" }), true, lacking},
		"one that ran elsewhere": {
			fine, job(world.Completed, world.Success), made(func(r *sandbox.Record) { r.Tags["job-id"] = "8" }), true, "none of 0 sandboxes had what it asks for",
		},
		"a job whose author is not told yet":    {refused, job(world.Queued, ""), fakemodal.Snapshot{}, false, ""},
		"a job whose author is told":            {refused, told("that is too much"), fakemodal.Snapshot{}, true, ""},
		"a job whose author is told other news": {refused, told("hello"), fakemodal.Snapshot{}, true, `its author was told "hello"`},
		"a job that has a sandbox all the same": {refused, told("too much"), as, true, "1 sandboxes were made for it"},
		"a job that ran all the same": {
			refused, job(world.Completed, world.Success), as, true, "it ended in success, and its author was told nothing",
		},
	} {
		over, err := test.job.Judge(test.github, test.modal)
		if over != test.over {
			t.Errorf("%s: over %v, want %v", name, over, test.over)
		}
		if got := text(err); over && got != test.err {
			t.Errorf("%s: got %q, want %q", name, got, test.err)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
