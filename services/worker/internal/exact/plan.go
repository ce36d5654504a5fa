package exact

import (
	"fmt"
	"math"
	"slices"
	"time"

	"modal-github-runner/proto/pools"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

const (
	poolName = "default"
	gpuPool  = "gpu"
	// label is the one that asks for us.
	label = "modal"
	// gpuLabel asks for the pool of GPUs, together with label.
	gpuLabel = "gpu"
	// owners have an installation each, and so a budget at GitHub each. The first are organizations, whose runners serve all
	// their repositories.
	owners        = 10
	organizations = 3
	reposOfOwner  = 3
	silentName    = "silent"
	// rareRepos are those of each user that have few jobs and are named nowhere: only an event makes them known.
	rareRepos = 6
)

// plan has all jobs come, and returns when the last one does.
func (s *Sim) plan() time.Duration {
	traffic := newDice(s.Seed, 3)
	var at time.Duration
	var family int64 // the first job of a matrix, or the only one
	for n, left := int64(1), 0; n <= int64(s.Jobs); n++ {
		gap := time.Duration(-math.Log(1-float64(traffic.next()>>11)/(1<<53)) / s.Rate * float64(time.Second))
		matrix := traffic.chance(0.01)
		size := 8 + traffic.below(56)
		if traffic.chance(0.2) {
			size = 256 // GitHub allows no more.
		}
		if left == 0 {
			family = n
		}
		switch {
		case left > 0: // The jobs of a matrix come at once.
			left--
		case matrix:
			left = size - 1
			at += gap * time.Duration(size) // So that there are no more jobs for it.
		default:
			at += gap
		}
		j := s.newJob(n, family)
		if s.Only != nil && !s.Only[n] {
			continue
		}
		s.after(at, func() { s.arrive(j) })
	}
	return at
}

// newJob draws all there is to a job from its own dice, but for its repository, which is its family's.
func (s *Sim) newJob(id, family int64) *ghJob {
	d, home := newDice(s.Seed, 4, uint64(id)), newDice(s.Seed, 7, uint64(family)) //nolint:gosec // ids are positive
	owner, repo := home.below(owners), home.below(reposOfOwner)
	name, rare := fmt.Sprintf("repo%d", repo), home.chance(0.1) && owner >= organizations
	if rare {
		n := home.below(rareRepos)
		name, repo = fmt.Sprintf("rare%d", n), reposOfOwner+n
	}
	j := &ghJob{dice: d, rare: rare, Job: run.Job{
		ID: id, RunID: family, Owner: fmt.Sprintf("owner%d", owner), Repo: name, RepoID: int64(100*owner + repo + 1), Private: true,
		Installation: int64(owner + 1), OrgOwned: owner < organizations, Labels: []string{label}, Pool: poolName, CreatedAt: s.time(),
	}}
	j.takes = time.Second + time.Duration(-math.Log(1-float64(d.next()>>11)/(1<<53))*float64(s.JobTime))
	if d.chance(0.3) {
		j.Labels = append(j.Labels, "self-hosted")
	}
	if d.chance(0.2) {
		j.Labels, j.Pool = append(j.Labels, gpuLabel), gpuPool
	}
	cancelled, held := s.hitsPlan(JobCancelled, d), s.hitsPlan(JobHeld, d)
	stealing, silence, unserved := s.hitsPlan(StolenByForeign, d), s.hitsPlan(StolenBySilent, d), s.hitsPlan(JobForeign, d)
	if after := d.between(0, 40*time.Second); cancelled {
		j.cancelAfter = after + 1
	}
	j.held = held
	switch {
	case stealing:
		j.nature, j.Labels, j.Pool = foreign, []string{"self-hosted"}, ""
	case silence && j.OrgOwned:
		j.nature, j.Repo, j.Pool = silentRepo, silentName, ""
	case unserved:
		j.nature, j.Labels, j.Pool = other, []string{"ubuntu-latest"}, ""
	}
	if s.hits(RefusedForever, d) {
		s.gh.refuses[id] = math.MaxInt64
		s.after(d.between(time.Minute, 2*time.Hour), func() { s.gh.refuses[id] = 0 })
	}
	return j
}

// hitsPlan decides what a job is. It is counted when it happens.
func (s *Sim) hitsPlan(f Fault, d *dice) bool { return d.chance(s.rates[f]) && !s.Without[f] }

// poolOf is the pool that labels ask for.
func poolOf(labels []string) string {
	switch {
	case !slices.Contains(labels, label):
		return ""
	case slices.Contains(labels, gpuLabel):
		return gpuPool
	}
	return poolName
}

// pool is what a sandbox gets without a pools file.
func pool(j run.Job) (run.Pool, error) {
	p := pools.Default().Pools[0]
	return run.Pool{Name: j.Pool, Timeout: p.Timeout, IdleLimit: p.IdleLimit}, nil
}

// repos are those that the configuration names.
func (*Sim) repos() []sweep.Repo {
	var named []sweep.Repo
	for o := range owners {
		for r := range reposOfOwner {
			named = append(named, sweep.Repo{Owner: fmt.Sprintf("owner%d", o), Name: fmt.Sprintf("repo%d", r), Installation: int64(o + 1)})
		}
	}
	return named
}
