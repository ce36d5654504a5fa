package sweep_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"modal-github-runner/services/worker/internal/places/placestest"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// errAway is what a party answers that is away.
var errAway = errors.New("it is away")

// ours is the deployment of these tests.
const ours = "deployment-1"

// soon is when what was begun about a runner can come to its end.
const soon = time.Second

// told is what was said about a runner or a job.
type told struct {
	Runner   run.Name
	Event    any
	Revision uint64
}

// world is GitHub, Modal, the ledger and those who are told, in memory. The answers of a call whose name is in fail are
// errors. It is safe for concurrent use.
type world struct {
	mu        sync.Mutex
	book      placestest.Memory
	fail      map[string]error
	calls     []string
	sandboxes []sweep.Sandbox
	// unlisted are the sandboxes that run although they are not listed.
	unlisted []sweep.Sandbox
	fates    map[string]run.Fate
	tails    map[string]string
	// says is what sandboxes answer; others have ended.
	says    map[string]run.Evidence
	runs    []sweep.Record[run.Run]
	runners []sweep.Record[run.Runner]
	told    []told

	registrations map[string][]sweep.Registration
	statuses      map[int64]run.Sighting
	queued        map[string][]run.Job

	ahead  time.Duration // The ledger's clock, of the worker's.
	listed func()        // What happens while runners are listed, if not nil.
}

// call counts a call and says whether it fails.
func (w *world) call(name string) error {
	w.calls = append(w.calls, name)
	return w.fail[name]
}

func (w *world) List(context.Context) ([]sweep.Sandbox, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.call("list"); err != nil {
		return w.sandboxes[:len(w.sandboxes)/2], err // What a failed list holds is not to be used.
	}
	return slices.Clone(w.sandboxes), nil
}

func (w *world) Find(_ context.Context, name run.Name) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.call("find"); err != nil {
		return "", err
	}
	for _, s := range append(slices.Clone(w.sandboxes), w.unlisted...) {
		if s.Name == name {
			return s.ID, nil
		}
	}
	return "", nil
}

func (w *world) Fate(_ context.Context, id string, withLog bool) (run.Fate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.call("fate"); err != nil {
		return run.Fate{}, err
	}
	fate, ok := w.fates[id]
	if !ok {
		return run.Fate{How: "its sandbox ended: terminated"}, nil
	}
	if withLog {
		fate.How += "; its log ends: " + w.tails[id]
	}
	return fate, nil
}

func (w *world) Ask(_ context.Context, id string, release bool) (run.Evidence, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.call("ask " + id); err != nil {
		return "", err
	}
	says, ok := w.says[id]
	switch {
	case !ok:
		return run.Over, nil
	case release && says == run.Warm:
		return run.ReleasedNow, nil
	}
	return says, nil
}

func (w *world) Terminate(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.call("terminate " + id)
}

func (w *world) Runs(context.Context) ([]sweep.Record[run.Run], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.call("runs"); err != nil {
		return w.runs[:len(w.runs)/2], err
	}
	return slices.Clone(w.runs), nil
}

func (w *world) Runners(context.Context) ([]sweep.Record[run.Runner], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listed != nil {
		w.listed()
	}
	if err := w.call("runners"); err != nil {
		return w.runners[:len(w.runners)/2], err
	}
	return slices.Clone(w.runners), nil
}

func (w *world) LoadRun(_ context.Context, job int64) (run.Run, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.runs {
		if r.Value.Job.ID == job {
			return *r.Value, r.Revision, w.call("load run")
		}
	}
	return run.Run{}, 0, w.call("load run")
}

func (w *world) LoadRunner(_ context.Context, name run.Name) (run.Runner, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.runners {
		if r.Value.Name == name {
			return *r.Value, r.Revision, w.call("load runner")
		}
	}
	return run.Runner{}, 0, w.call("load runner")
}

func (w *world) HandleRunner(_ context.Context, name run.Name, ev run.RunnerEvent) (time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.call("handle"); err != nil {
		return time.Time{}, err
	}
	w.told = append(w.told, told{Runner: name, Event: ev})
	return time.Now().Add(soon), nil // Nobody is to wait for that, but it may come to its end in the next run.
}

func (w *world) Report(_ context.Context, ev run.Event, revision uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.call("report"); err != nil {
		return err
	}
	w.told = append(w.told, told{Event: ev, Revision: revision})
	return nil
}

func (w *world) Registrations(_ context.Context, _ run.Job, scope string) ([]sweep.Registration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.call("registrations of " + scope); err != nil {
		return w.registrations[scope][:len(w.registrations[scope])/2], err
	}
	return slices.Clone(w.registrations[scope]), nil
}

func (w *world) DeregisterID(_ context.Context, _ run.Job, scope string, id int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.call("deregister"); err != nil {
		return err
	}
	w.registrations[scope] = slices.DeleteFunc(w.registrations[scope], func(r sweep.Registration) bool { return r.ID == id })
	return nil
}

func (w *world) Sight(_ context.Context, j run.Job) (run.Sighting, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.statuses[j.ID], w.call("sight")
}

func (w *world) Queued(_ context.Context, in sweep.Repo) ([]run.Job, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := in.Owner + "/" + in.Name
	if err := w.call("queued of " + key); err != nil {
		return w.queued[key][:len(w.queued[key])/2], err
	}
	return slices.Clone(w.queued[key]), nil
}

// count is how often a call was made.
func (w *world) count(name string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c == name {
			n++
		}
	}
	return n
}

func name(job int64) run.Name { return run.Name{Job: job, Attempt: 1} }

func job(id int64) run.Job {
	return run.Job{ID: id, Owner: "octo", Repo: "repo", Private: true, Labels: []string{"modal"}, Pool: "default", Installation: 5}
}

// scopeOf has organizations register their runners themselves.
func scopeOf(j run.Job) string {
	if j.OrgOwned {
		return j.Owner
	}
	return j.Owner + "/" + j.Repo
}

// record is a record that was changed so long ago.
func record[T any](value T, age time.Duration) sweep.Record[T] {
	return sweep.Record[T]{Value: &value, Revision: 7, ChangedAt: time.Now().Add(-age)}
}

func ago(d time.Duration) time.Time { return time.Now().Add(-d) }
