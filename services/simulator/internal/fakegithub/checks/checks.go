// Package checks keeps the check runs that Apps made at the simulated GitHub. Those that GitHub Actions makes of its jobs are
// not here: they are the jobs. Nothing is refused here and nothing rendered.
package checks

import (
	"slices"
	"sync"
	"time"
)

// firstID lies far above the ids of jobs: a job's id is that of a check run, too.
const firstID = 50_000_000_000

// Run is a check run.
type Run struct {
	ID    int64 `json:"id"`
	Suite int64 `json:"suite"`
	App   int64 `json:"app"`
	// Repo is its full name in lower case.
	Repo        string    `json:"repo"`
	SHA         string    `json:"sha"`
	Name        string    `json:"name"`
	ExternalID  string    `json:"external_id"`
	DetailsURL  string    `json:"details_url"`
	Status      string    `json:"status"`
	Conclusion  string    `json:"conclusion"`
	Title       string    `json:"title"`
	Summary     string    `json:"summary"`
	Text        string    `json:"text"`
	StartedAt   time.Time `json:"started_at"`
	CompletedAt time.Time `json:"completed_at"`
}

// Checks is the memory of them. The zero value is empty and ready. It is safe for concurrent use.
type Checks struct {
	mu   sync.Mutex
	runs []Run
}

// Add keeps a new check run, and returns it with its ids. All of one App and commit are of one suite.
func (c *Checks) Add(r Run) Run {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.ID = firstID + int64(len(c.runs))
	r.Suite = r.ID
	for _, other := range c.runs {
		if other.Repo == r.Repo && other.SHA == r.SHA && other.App == r.App {
			r.Suite = other.Suite
		}
	}
	c.runs = append(c.runs, r)
	return r
}

// Change changes the check run of a repository that has the id. False if there is none.
func (c *Checks) Change(repo string, id int64, change func(*Run)) (Run, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := slices.IndexFunc(c.runs, func(r Run) bool { return r.Repo == repo && r.ID == id })
	if n < 0 {
		return Run{}, false
	}
	change(&c.runs[n])
	return c.runs[n], true
}

// Find returns a check run of the repository.
func (c *Checks) Find(repo string, id int64) (Run, bool) { return c.Change(repo, id, func(*Run) {}) }

// Of lists those of a commit, newest first.
func (c *Checks) Of(repo, sha string) []Run {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []Run
	for _, r := range slices.Backward(c.runs) {
		if r.Repo == repo && r.SHA == sha {
			found = append(found, r)
		}
	}
	return found
}

// All lists all, oldest first.
func (c *Checks) All() []Run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.runs)
}
