package run

import "time"

// The statuses of a job at GitHub that matter here. The set is GitHub's and open.
const (
	statusQueued     = "queued"
	statusWaiting    = "waiting"
	statusInProgress = "in_progress"
	statusCompleted  = "completed"
)

// Sighting is what GitHub says of a job when it is asked. Gone says that it does not show us the job: it was deleted, or
// its repository is not ours to see any more. Then nothing else is set.
type Sighting struct {
	Gone bool
	// Status is GitHub's word.
	Status, Conclusion string
	// Runner has or had the job; zero if it is not ours. GitHubID is the id of its registration.
	Runner   Name
	GitHubID int64
}

// Unheard is the event by which GitHub would have told us what was seen at now; nil if that is what r says, too. That a job which runs
// is queued is old news: GitHub tells that it runs once the runner's worker process has begun with it, and hands out again only what no
// runner has begun with (actions/runner#4598, #4728). A runner that is lost after that ends its job, and a re-run is another job.
func (r Run) Unheard(seen Sighting, now time.Time) Event {
	switch {
	case r.State.Terminal():
		return nil
	case seen.Gone:
		return Finished{Job: r.Job, Conclusion: "gone", Event: AskedGitHub}
	case seen.Status == statusCompleted:
		return Finished{Job: r.Job, Runner: seen.Runner, GitHubID: seen.GitHubID, Conclusion: seen.Conclusion, Event: AskedGitHub}
	case seen.Status == statusInProgress && r.State != Running:
		return Started{Job: r.Job, Runner: seen.Runner, GitHubID: seen.GitHubID, At: now, Event: AskedGitHub}
	case seen.Status == statusQueued && r.State == OnHold:
		return Queued{Job: r.Job, At: now, Event: AskedGitHub}
	case seen.Status == statusWaiting && r.State == Waiting:
		return Held{Job: r.Job, At: now, Event: AskedGitHub}
	default:
		return nil
	}
}
