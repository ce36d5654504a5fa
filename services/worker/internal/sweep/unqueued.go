package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// knownFor is how long a repository is asked about after its last job.
	knownFor = 7 * 24 * time.Hour
	// webhookTime is how long the webhook of a new job may be on its way.
	webhookTime = time.Minute
	// queuedFor is how long GitHub keeps a job queued (docs.github.com, "Usage limits" of self-hosted runners).
	queuedFor = 24 * time.Hour
)

// Unqueued finds queued jobs of which no webhook told us.
type Unqueued struct {
	Jobs   Jobs
	Ledger Ledger
	Reader Reader
	Queue  Queue
	Now    func() time.Time
	// Named are repositories to ask about although no job of theirs was ever seen.
	Named []Repo
	// Pool is the pool that a job's labels ask for; empty for a job that is not ours.
	Pool func(labels []string) string
	// LooksLike is the pool that labels of no pool seem to ask for, in characters that only look like those of its labels; empty for none.
	LooksLike func(labels []string) string
	// Admit returns nil if the job's repository may use our runners.
	Admit func(run.Job) error
	Log   *slog.Logger

	turn turn
	// refused are the jobs that were told of as such, and when.
	refused map[int64]time.Time
}

// RunOnce looks once at the repositories whose turn it is.
func (u *Unqueued) RunOnce(ctx context.Context) (Report, error) {
	began := u.Now()
	runs, err := u.Ledger.Runs(ctx)
	if err != nil {
		return Report{}, err
	}
	maps.DeleteFunc(u.refused, func(_ int64, at time.Time) bool { return began.Sub(at) > queuedFor })
	repos := knownRepos(runs, began, u.Named, u.Admit)
	var t tally
	for _, name := range names(&u.turn, repos, maxPlaces) {
		if u.lookAt(ctx, repos[name], began, &t) {
			break
		}
	}
	return t.result()
}

// knownRepos are the repositories that had jobs of late or are named, by a name of their own; an organization that is named
// has no name in it.
func knownRepos(runs []Record[run.Run], began time.Time, named []Repo, admit func(run.Job) error) map[string]Repo {
	repos := map[string]Repo{}
	add := func(r Repo) {
		key := strings.ToLower(r.Owner + "/" + r.Name) // GitHub's names are compared without case.
		if old, ok := repos[key]; !ok || old.Installation == 0 {
			repos[key] = r
		}
	}
	for _, record := range runs {
		if j := record.Value.Job; began.Sub(record.ChangedAt) < knownFor && admit(j) == nil {
			add(Repo{j.Owner, j.Repo, j.Installation})
		}
	}
	for _, r := range named {
		add(r)
	}
	return repos
}

func (u *Unqueued) lookAt(ctx context.Context, in Repo, began time.Time, t *tally) (stop bool) {
	jobs, err := u.Jobs.Queued(ctx, in)
	if _, permanent := errors.AsType[*run.PermanentError](err); permanent { // It was deleted, or is not ours to see any more.
		return t.found(Unreadable, nil)
	}
	for _, j := range jobs { // A list that is not complete tells of jobs, and says nothing of those that are not on it.
		j.Pool = u.Pool(j.Labels)
		refusal := wire.CheckLabels(j.Labels)
		if looks := u.LooksLike(j.Labels); j.Pool == "" && looks != "" {
			j.Pool, refusal = looks, fmt.Errorf("label that only looks like ours, of pool %s", looks)
		}
		if j.Pool == "" || began.Sub(j.CreatedAt) < webhookTime || u.Admit(j) != nil {
			continue
		}
		if refusal != nil {
			u.tell(ctx, j, began, refusal)
			continue
		}
		if t.found(u.hear(ctx, j, began)) {
			return true
		}
	}
	return t.found("", err)
}

// tell says once of a job, as ingress does of a webhook, why it is not taken for its labels.
func (u *Unqueued) tell(ctx context.Context, j run.Job, now time.Time, refusal error) {
	if _, told := u.refused[j.ID]; told {
		return
	}
	if u.refused == nil {
		u.refused = map[int64]time.Time{}
	}
	u.refused[j.ID] = now
	u.Log.LogAttrs(ctx, slog.LevelWarn, "queued job refused", slog.Int64("job_id", j.ID), slog.Int64("run_id", j.RunID),
		slog.String("repo", j.Owner+"/"+j.Repo), slog.Any("err", refusal))
}

// hear reports a queued job, unless the ledger knows that it waits, or that it was queued and more has happened since.
func (u *Unqueued) hear(ctx context.Context, j run.Job, began time.Time) (Kind, error) {
	known, revision, err := u.Reader.LoadRun(ctx, j.ID)
	if err != nil {
		return "", err
	}
	if known.State != run.New && known.State != run.OnHold {
		return "", nil
	}
	if err := u.Queue.Report(ctx, run.Queued{Job: j, At: began, Event: run.AskedGitHub}, revision); err != nil {
		return "", fmt.Errorf("report job %d: %w", j.ID, err)
	}
	return Unheard, nil
}
