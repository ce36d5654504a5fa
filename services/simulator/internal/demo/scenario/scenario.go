// Package scenario is what the demo shows before its workload: a job of each kind that needs more than a sandbox, and how each has to
// end. The kinds are in scenario.json, the pools that they need in pools.yaml. It judges by what GitHub and Modal saw alone.
package scenario

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"modal-github-runner/services/simulator/internal/fakegithub/control"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/world"
)

//go:embed pools.yaml
var pools []byte

//go:embed scenario.json
var jobs []byte

// The ways in which a Job has to end.
const (
	// Success is a job that a sandbox ran and that succeeded.
	Success = "success"
	// Refused is a job for which no sandbox is made, and whose author is told why.
	Refused = "refused"
)

// jobTag is the tag of a sandbox that names the job that it was made for.
const jobTag = "job-id"

// Job is one kind of job.
type Job struct {
	world.JobSpec

	// Shows says for people what it is.
	Shows string `json:"shows"`
	// Repo is owner/name.
	Repo string `json:"repo"`
	// Head is the owner/name of the fork whose commit it runs, for a pull request; empty for a push to Repo.
	Head string `json:"head"`
	// Ends is Success or Refused.
	Ends string `json:"ends"`
	// Told is what the author of a refused job has to be told, among other things.
	Told string `json:"told"`
	// Sandbox is what the sandbox has to have been made with.
	Sandbox Sandbox `json:"sandbox"`
}

// Sandbox is part of what a sandbox is made with; what is empty may be anything.
type Sandbox struct {
	// GPU is its type.
	GPU     string `json:"gpu"`
	Runtime string `json:"runtime"`
	// Cache is the directory of a volume that is mounted at /cache.
	Cache string `json:"cache"`
}

// Pools is the pools file that the jobs need.
func Pools() []byte { return bytes.Clone(pools) }

// Jobs are all kinds, in the order in which they have to run.
func Jobs() ([]Job, error) {
	decoder := json.NewDecoder(bytes.NewReader(jobs))
	decoder.DisallowUnknownFields()
	var all []Job
	if err := decoder.Decode(&all); err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	return all, nil
}

// Workflow is a run of the job alone.
func (j Job) Workflow() world.Workflow {
	w := world.Workflow{Repo: j.Repo, Name: "Scenario", Jobs: []world.JobSpec{j.JobSpec}}
	if j.Head != "" {
		w.Head, w.Event = j.Head, "pull_request"
	}
	return w
}

// Find returns the job at GitHub.
func (j Job) Find(github control.State) (world.Job, bool) {
	for _, job := range github.Jobs {
		if job.Name == j.Name {
			return job, true
		}
	}
	return world.Job{}, false
}

// Judge says whether the job is over, sandbox and all, and if it is, what is wrong with how it ended.
func (j Job) Judge(github control.State, modal fakemodal.Snapshot) (over bool, err error) {
	job, ok := j.Find(github)
	if !ok {
		return false, nil
	}
	id := strconv.FormatInt(job.ID, 10)
	made := slices.DeleteFunc(slices.Clone(modal.Sandboxes), func(s sandbox.Record) bool { return s.Tags[jobTag] != id })
	if j.Ends == Refused {
		return j.refused(github, job, made)
	}
	switch {
	case job.Status != world.Completed || slices.ContainsFunc(made, func(s sandbox.Record) bool { return !s.Ended() }):
		return false, nil
	case job.Conclusion != world.Success:
		return true, fmt.Errorf("it ended in %s", job.Conclusion)
	case !slices.ContainsFunc(made, j.Sandbox.fits):
		return true, fmt.Errorf("none of %d sandboxes had what it asks for", len(made))
	}
	return true, nil
}

func (j Job) refused(github control.State, job world.Job, made []sandbox.Record) (over bool, err error) {
	for _, c := range github.CheckRuns {
		switch {
		case c.ExternalID != strconv.FormatInt(job.ID, 10):
		case !strings.Contains(c.Summary, j.Told):
			return true, fmt.Errorf("its author was told %q", c.Summary)
		case len(made) > 0:
			return true, fmt.Errorf("%d sandboxes were made for it", len(made))
		default:
			return true, nil
		}
	}
	return job.Status == world.Completed, fmt.Errorf("it ended in %s, and its author was told nothing", job.Conclusion)
}

// fits reports whether a sandbox was made as s says.
func (s Sandbox) fits(made sandbox.Record) bool {
	cached := s.Cache == "" || slices.ContainsFunc(made.Mounts, func(m sandbox.Mount) bool { return m.Path == "/cache" && m.SubPath == s.Cache })
	return cached && (s.GPU == "" || s.GPU == made.GPU) && (s.Runtime == "" || s.Runtime == made.Runtime)
}
