package exact

import (
	"errors"
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// GitHub's words.
const (
	queued     = "queued"
	waiting    = "waiting"
	inProgress = "in_progress"
	completed  = "completed"
)

// nature says what a job is to us.
type nature int

const (
	ours nature = iota
	// foreign asks for self-hosted only: its webhooks come, and it is not ours, but can take our runners.
	foreign
	// silent is of a repository that sends no webhooks, in an organization whose runners are ours.
	silentRepo
	// other has labels that we do not serve.
	other
)

// ghJob is a job at GitHub.
type ghJob struct {
	run.Job

	nature             nature
	dice               *dice
	takes              time.Duration
	cancelAfter        time.Duration // 0 is never
	rare               bool          // of a repository that is named nowhere
	told, forgotten    bool          // an event of it came; no trace of that is left, though GitHub has delivered it
	held               bool          // queued, then waiting, then queued
	status, conclusion string
	was                string        // the status before, which a lagging API still tells
	since              time.Duration // when the status came
	queuedAt           time.Duration
	startedAt          time.Duration
	ran                int
	runner             *ghRunner
	ranOn              run.Name
	ranOnID            int64
	sent, heard        int // how many events were sent of it, and the serial of the last that came
}

// ghRunner is a registration at GitHub. It is online while its box runs it.
type ghRunner struct {
	name   run.Name
	id     int64
	jit    string
	scope  string
	labels []string
	box    *box
	job    *ghJob
	online time.Duration // since when, if it has a box
}

// github is the world of jobs and registrations.
type github struct {
	jobs    map[int64]*ghJob
	all     []*ghJob
	queue   []*ghJob // those that want a runner, oldest first
	held    []*ghJob // those that wait for an approval
	offered []*ghJob // those given to a runner that has not taken them yet
	runners map[run.Name]*ghRunner
	idle    []*ghRunner
	serial  int64
	// points are what each installation has used in the minute.
	points map[int64]int
	minute map[int64]time.Duration
	// refuses is until when a job's registration is refused, for good as far as it says.
	refuses map[int64]time.Duration
	// attempts are those to deliver an event, oldest first. The id of one is its place, from 1.
	attempts []attempt
	// notices are the check runs of each job that say that it was given up, or, without a reason, that it was not after all.
	notices map[int64][]notice
}

// notice is a check run.
type notice struct{ reason string }

// covers is GitHub's rule, written anew.
func (r *ghRunner) covers(j *ghJob) bool {
	if r.scope != j.Owner && r.scope != j.Owner+"/"+j.Repo {
		return false
	}
	for _, l := range j.Labels {
		if !slices.ContainsFunc(r.labels, func(have string) bool { return strings.EqualFold(have, l) }) {
			return false
		}
	}
	return true
}

func (s *Sim) setStatus(j *ghJob, status string) {
	j.was, j.status, j.since = j.status, status, s.now
	s.tellf(j.ID, "GitHub: %s %s", status, j.conclusion)
}

// queueJob has the job want a runner.
func (s *Sim) queueJob(j *ghJob) {
	s.unqueue(j)
	s.setStatus(j, queued)
	j.queuedAt = s.now
	s.gh.queue = append(s.gh.queue, j)
	s.send(j, run.Queued{Job: j.Job})
	s.assign()
}

// arrive is the beginning of a job.
func (s *Sim) arrive(j *ghJob) {
	j.CreatedAt = s.time()
	s.gh.jobs[j.ID] = j
	s.gh.all = append(s.gh.all, j)
	if j.nature == ours {
		s.open++
	}
	s.queueJob(j)
	if j.held {
		s.count(JobHeld)
		s.after(j.dice.between(100*time.Millisecond, time.Minute), func() { s.hold(j) })
	}
	if j.cancelAfter > 0 {
		s.after(j.cancelAfter, func() { s.cancel(j) })
	}
}

// hold takes the job back until it is approved.
func (s *Sim) hold(j *ghJob) {
	if j.status != queued || j.runner != nil {
		return
	}
	s.unqueue(j)
	s.setStatus(j, waiting)
	s.gh.held = append(s.gh.held, j)
	s.send(j, run.Held{Job: j.Job})
	approved := j.dice.between(time.Second, 10*time.Minute)
	if j.dice.chance(0.1) {
		approved *= 6 // Some are at lunch.
	}
	s.after(approved, func() {
		if j.status == waiting {
			s.queueJob(j)
		}
	})
}

func (s *Sim) cancel(j *ghJob) {
	if j.status != queued && j.status != waiting {
		return
	}
	s.count(JobCancelled)
	if j.runner != nil {
		j.runner.job, j.runner = nil, nil
	}
	s.complete(j, "cancelled")
}

func (s *Sim) unqueue(j *ghJob) {
	is := func(q *ghJob) bool { return q == j }
	for _, jobs := range []*[]*ghJob{&s.gh.queue, &s.gh.held, &s.gh.offered} {
		*jobs = slices.DeleteFunc(*jobs, is)
	}
}

func (s *Sim) complete(j *ghJob, conclusion string) {
	s.unqueue(j)
	j.conclusion = conclusion
	s.setStatus(j, completed)
	if j.nature == ours {
		s.open--
	}
	s.send(j, run.Finished{Job: j.Job, Runner: j.ranOn, GitHubID: j.ranOnID, Conclusion: conclusion})
}

// assign gives jobs, oldest first, to any idle runners that cover them.
func (s *Sim) assign() {
	for n := 0; n < len(s.gh.queue) && len(s.gh.idle) > 0; {
		j := s.gh.queue[n]
		var fit []int
		for i, r := range s.gh.idle {
			if r.covers(j) {
				fit = append(fit, i)
			}
		}
		if len(fit) == 0 {
			n++
			continue
		}
		i := fit[j.dice.below(len(fit))]
		r := s.gh.idle[i]
		s.gh.idle = slices.Delete(s.gh.idle, i, i+1)
		s.gh.queue = slices.Delete(s.gh.queue, n, n+1)
		j.runner, r.job = r, j
		s.gh.offered = append(s.gh.offered, j)
		s.tellf(j.ID, "GitHub: given to runner %v", r.name)
		s.after(j.dice.between(200*time.Millisecond, 2*time.Second), func() { s.acquire(j, r) })
	}
}

// acquire is the runner's taking the job, or GitHub's finding that it does not.
func (s *Sim) acquire(j *ghJob, r *ghRunner) {
	if j.runner != r || j.status != queued {
		if r.job == nil && r.box != nil && r.box.alive() && s.gh.runners[r.name] == r && !slices.Contains(s.gh.idle, r) {
			s.gh.idle = append(s.gh.idle, r) // The job was cancelled meanwhile.
			s.assign()
		}
		return
	}
	if r.box == nil || !r.box.alive() || r.box.released || s.gh.runners[r.name] != r {
		s.after(j.dice.between(20*time.Second, time.Minute), func() {
			if j.runner == r && j.status == queued {
				j.runner, r.job = nil, nil
				s.unqueue(j)
				s.gh.queue = slices.Insert(s.gh.queue, 0, j)
				s.assign()
			}
		})
		return
	}
	s.unqueue(j)
	j.startedAt, j.ranOn, j.ranOnID = s.now, r.name, r.id
	j.ran++
	s.setStatus(j, inProgress)
	s.countTheft(j, r)
	s.check.started(j)
	s.send(j, run.Started{Job: j.Job, Runner: r.name, GitHubID: r.id})
	box := r.box
	if s.hits(RunnerDies, j.dice) {
		s.after(j.dice.between(0, j.takes), func() { s.endBox(box, "its sandbox ended: internal") })
	}
	s.after(j.takes, func() {
		if j.status == inProgress && box.alive() {
			delete(s.gh.runners, r.name)
			s.complete(j, "success")
			s.after(j.dice.between(time.Second, 3*time.Second), func() { s.endBox(box, "its sandbox ended: success") })
		}
	})
}

func (s *Sim) countTheft(j *ghJob, r *ghRunner) {
	switch {
	case j.nature == foreign:
		s.count(StolenByForeign)
	case j.nature == silentRepo:
		s.count(StolenBySilent)
	case r.name.Job != j.ID && len(r.labels) != len(j.Labels):
		s.count(StolenAcross)
	}
}

// lostRunner is what becomes of a job whose runner's box has ended: GitHub notices after some minutes.
func (s *Sim) lostRunner(r *ghRunner) {
	s.gh.idle = slices.DeleteFunc(s.gh.idle, func(i *ghRunner) bool { return i == r })
	r.box = nil
	if j := r.job; j != nil && j.status == inProgress {
		s.after(j.dice.between(time.Minute, 10*time.Minute), func() {
			if j.status == inProgress {
				delete(s.gh.runners, r.name)
				s.complete(j, "failure")
			}
		})
	}
}

// writePoints is what a request costs that changes something.
const writePoints = 5

// spend uses points of an installation's budget.
func (s *Sim) spend(installation int64, points int) error {
	if err := s.room(installation, points); err != nil {
		return err
	}
	s.gh.points[installation] += points
	return nil
}

// room is what spend would say.
func (s *Sim) room(installation int64, points int) error {
	const budget = 900
	if minute := s.now.Truncate(time.Minute); s.gh.minute[installation] != minute {
		s.gh.minute[installation], s.gh.points[installation] = minute, 0
	}
	if s.gh.points[installation]+points > budget {
		s.count(GitHubLimit)
		return &run.LimitedError{Until: epoch().Add(s.gh.minute[installation] + time.Minute), Err: errors.New("github: secondary rate limit")}
	}
	return nil
}
