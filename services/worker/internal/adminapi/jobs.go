package adminapi

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// notTaken says why there may be no record of a job.
const notTaken = "must be of a job that was taken on in the last week; " +
	"why one was not, for its labels or its repository, is in the logs of ingress and workers"

// Jobs is the answer to GET /jobs.
type Jobs struct {
	Jobs []Summary `json:"jobs"`
	// LeftOff is how many older ones there are.
	LeftOff int `json:"left_off,omitempty"`
}

// Summary is one job of a list.
type Summary struct {
	ID       int64     `json:"id"`
	Repo     string    `json:"repo"`
	Workflow string    `json:"workflow,omitempty"`
	Name     string    `json:"name,omitempty"`
	Pool     string    `json:"pool,omitempty"`
	State    run.State `json:"state"`
	// Since is when the job came to its state.
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason,omitempty"`
}

// states are those that a record can have.
var states = [...]run.State{run.OnHold, run.Waiting, run.Running, run.Done, run.Dead} //nolint:gochecknoglobals // a constant list

func (a *API) jobs(r *http.Request) (any, error) {
	state := run.State(r.URL.Query().Get("state"))
	if state != run.New && !slices.Contains(states[:], state) {
		return nil, &refusal{http.StatusBadRequest, "state", fmt.Sprintf("must be one of %v", states), string(state)}
	}
	entries, err := a.Ledger.Runs(r.Context())
	if err != nil {
		return nil, err
	}
	list := []Summary{}
	for _, entry := range entries {
		if record := entry.Record; record.State == state || state == run.New && !record.State.Terminal() {
			list = append(list, summaryOf(*record))
		}
	}
	slices.SortFunc(list, func(a, b Summary) int { return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(b.ID, a.ID)) })
	shown := min(len(list), maxListed)
	return Jobs{Jobs: list[:shown], LeftOff: len(list) - shown}, nil
}

func summaryOf(r run.Run) Summary {
	return Summary{
		ID: r.Job.ID, Repo: r.Job.Owner + "/" + r.Job.Repo, Workflow: r.Job.WorkflowName, Name: r.Job.Name, Pool: r.Job.Pool,
		State: r.State, Since: since(r), Attempts: r.Attempts, Reason: r.Reason,
	}
}

// since is when the job came to its state.
func since(r run.Run) time.Time {
	switch r.State {
	case run.OnHold:
		return r.HeldAt
	case run.Waiting:
		return r.QueuedAt
	case run.Running:
		return r.StartedAt
	case run.Done:
		return r.FinishedAt
	case run.Dead:
		return r.GivenUpAt()
	case run.New:
	}
	return time.Time{}
}

// Explanation is the answer to GET /jobs/{id}.
type Explanation struct {
	Summary

	// WaitsFor says in a sentence what a waiting job needs, and since when.
	WaitsFor   string   `json:"waits_for,omitempty"`
	Conclusion string   `json:"conclusion,omitempty"`
	Labels     []string `json:"labels"`
	RunID      int64    `json:"run_id"`
	RunAttempt int      `json:"run_attempt"`
	Branch     string   `json:"branch,omitempty"`
	// Capped is what an untrusted job gets less of than its labels ask for, by the pools file as it is now.
	Capped   []string `json:"capped,omitempty"`
	Timeline []Moment `json:"timeline"`
	Runners  []Runner `json:"runners"`
	// Turn is where it stands in line for a place. Nil if it does not.
	Turn *Turn `json:"turn,omitempty"`
	// Cost is what its runners have cost so far, in US dollars by the prices of the pools file.
	Cost float64 `json:"cost_usd,omitempty"`
}

// Moment is a line of a job's timeline.
type Moment struct {
	At time.Time `json:"at"`
	// Runner is the name of the one that Text is about, at GitHub and at Modal alike. Empty if it is about none.
	Runner string `json:"runner,omitempty"`
	Text   string `json:"text"`
	// Event is what it comes of; see run.Note.
	Event string `json:"event,omitempty"`
}

// Ending is the state of a runner that is busy on record, though its job is over: it may tidy up for run.Grace.
const Ending run.RunnerState = "ending"

// Runner is one that has to do with a job.
type Runner struct {
	Name string `json:"name"`
	// State is that of its record, or Ending.
	State run.RunnerState `json:"state"`
	// CountsFor is the job that counts on it, Took the one that it took. Zero for none.
	CountsFor  int64     `json:"counts_for,omitempty"`
	Took       int64     `json:"took,omitempty"`
	GitHubID   int64     `json:"github_id,omitempty"`
	SandboxID  string    `json:"sandbox_id,omitempty"`
	LaunchedAt time.Time `json:"launched_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	Reason     string    `json:"reason,omitempty"`
}

func (a *API) job(r *http.Request) (any, error) {
	id, err := jobID(r)
	if err != nil {
		return nil, err
	}
	record, err := a.load(r, id)
	if err != nil {
		return nil, err
	}
	runners, over := []run.Runner{}, map[int64]bool{id: record.Over()}
	for _, name := range runnersOf(record) {
		runner, _, err := a.Ledger.LoadRunner(r.Context(), name)
		if err != nil {
			return nil, err
		}
		if runner.State != run.Unknown {
			runners = append(runners, runner)
		}
		if _, known := over[runner.Took]; !known && runner.Took != 0 {
			took, _, err := a.Ledger.LoadRun(r.Context(), runner.Took)
			if err != nil {
				return nil, err
			}
			over[runner.Took] = took.Over()
		}
	}
	next, err := a.Queue.NextLook(r.Context(), id)
	if err != nil {
		return nil, err
	}
	turn, err := a.turn(r.Context(), record)
	if err != nil {
		return nil, err
	}
	counted := countedOn(record, runners)
	says := a.evidence(r.Context(), record, counted)
	now := time.Now()
	e := explain(record, runners, over, now)
	e.WaitsFor = waitsFor(record, counted, says, next, now)
	if record.Job.Untrusted != "" {
		e.Capped = a.Capped(record.Job)
	}
	if turn.Position > 0 {
		e.Turn = &turn
		e.WaitsFor = fmt.Sprintf("a place for its sandbox: %s; it is number %d of %d in line (queued %s ago)",
			turn.lacks(now), turn.Position, turn.Of, Span(now.Sub(record.QueuedAt)))
	}
	return e, nil
}

// load returns a record that exists.
func (a *API) load(r *http.Request, id int64) (run.Run, error) {
	record, revision, err := a.Ledger.LoadRun(r.Context(), id)
	if err == nil && revision == 0 {
		err = &refusal{http.StatusNotFound, "id", notTaken, strconv.FormatInt(id, 10)}
	}
	return record, err
}

// runnersOf names all that were launched for the job, or counted for it, or took it.
func runnersOf(r run.Run) []run.Name {
	names := []run.Name{r.Runner, r.RanOn}
	for attempt := 1; attempt <= r.Attempts; attempt++ {
		names = append(names, run.Name{Job: r.Job.ID, Attempt: attempt})
	}
	for _, note := range r.History {
		names = append(names, note.Runner)
	}
	slices.SortFunc(names, func(a, b run.Name) int { return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Attempt, b.Attempt)) })
	names = slices.Compact(names)
	return slices.DeleteFunc(names, run.Name.IsZero)
}

// explain tells of a job; over holds those that its runners took and that are over.
func explain(r run.Run, runners []run.Runner, over map[int64]bool, now time.Time) Explanation {
	e := Explanation{
		Summary: summaryOf(r), Conclusion: r.Conclusion, Labels: r.Job.Labels, RunID: r.Job.RunID, RunAttempt: r.Job.RunAttempt,
		Branch: r.Job.HeadBranch, Timeline: timeline(r, runners), Runners: []Runner{},
	}
	for _, runner := range runners {
		shown := Runner{
			Name: nameOf(runner.Name), State: runner.State, CountsFor: runner.For, Took: runner.Took, GitHubID: runner.GitHubID,
			SandboxID: runner.SandboxID, LaunchedAt: runner.LaunchedAt, EndedAt: runner.EndedAt, Reason: runner.Reason,
		}
		switch {
		case runner.State == run.Busy && over[runner.Took]:
			shown.State, shown.Reason = Ending, "its job is over; what is left of it is ended "+Span(run.Grace)+" after that"
		case runner.State == run.Launching && runner.Name == r.Runner: // What fails before it is created is known of the job only.
			shown.Reason = cmp.Or(r.Reason, runner.Reason)
		}
		e.Runners = append(e.Runners, shown)
		e.Cost += runner.Cost(now)
	}
	return e
}

// countedOn is the runner that the job counts on; zero if there is no record of it.
func countedOn(r run.Run, runners []run.Runner) run.Runner {
	if n := slices.IndexFunc(runners, func(known run.Runner) bool { return known.Name == r.Runner }); n >= 0 {
		return runners[n]
	}
	return run.Runner{}
}

// timeline is what the records of the job and of its runners tell together, oldest first.
func timeline(r run.Run, runners []run.Runner) []Moment {
	moments := []Moment{}
	for _, note := range r.History {
		moments = append(moments, Moment{At: note.At, Runner: nameOf(note.Runner), Text: note.Text, Event: note.Event})
	}
	for _, runner := range runners {
		if !runner.LaunchedAt.IsZero() {
			text := "launched, sandbox " + runner.SandboxID
			if runner.Warm {
				text = "given to sandbox " + runner.SandboxID + ", which had waited for a runner"
			}
			moments = append(moments, Moment{At: runner.LaunchedAt, Runner: nameOf(runner.Name), Text: text})
		}
		if !runner.EndedAt.IsZero() {
			text := strings.TrimSuffix("ended: "+runner.Reason, ": ")
			moments = append(moments, Moment{At: runner.EndedAt, Runner: nameOf(runner.Name), Text: text})
		}
	}
	slices.SortStableFunc(moments, func(a, b Moment) int { return a.At.Compare(b.At) })
	return moments
}
