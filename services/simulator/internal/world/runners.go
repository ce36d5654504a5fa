package world

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The runner groups that every owner has.
const (
	DefaultGroup int64 = 1
	HostedGroup  int64 = 2
)

// runner is guarded by World.mu.
type runner struct {
	Runner
	secret       string
	connected    bool // a session was opened once; a JIT configuration opens no second one
	session      *session
	job          *job // assigned or running
	offlineTimer *time.Timer
}

// Registration is what a new runner needs to connect.
type Registration struct {
	Runner Runner
	Secret string
}

// Register adds an ephemeral runner that has not connected yet. The error wraps ErrNotFound (owner, repository or
// group), ErrHostedGroup or ErrExists (the name is taken in this scope).
func (w *World) Register(s Scope, name string, group int64, labels []string) (Registration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.exists(s); err != nil {
		return Registration{}, err
	}
	groupName, ok := w.groups[s.groups()][group]
	switch {
	case !ok:
		return Registration{}, fmt.Errorf("runner group %d: %w", group, ErrNotFound)
	case group == HostedGroup:
		return Registration{}, fmt.Errorf("runner group %d: %w", group, ErrHostedGroup)
	case slices.ContainsFunc(w.runners, func(r *runner) bool { return r.Scope.is(s) && strings.EqualFold(r.Name, name) }):
		return Registration{}, fmt.Errorf("runner %q: %w", name, ErrExists)
	}
	r := &runner{secret: rand.Text(), Runner: Runner{
		ID: w.nextID("runner", 0), Name: name, Scope: s, GroupID: group, GroupName: groupName, OS: "unknown",
		RegisteredAt: time.Now(),
	}}
	for _, l := range labels {
		r.Labels = append(r.Labels, strings.ToLower(l))
	}
	r.offlineTimer = time.AfterFunc(w.timing.Offline, func() { w.offlineTimeout(r) })
	w.runners, w.registered = append(w.runners, r), append(w.registered, r)
	return Registration{Runner: w.view(r), Secret: r.secret}, nil
}

func (w *World) offlineTimeout(r *runner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && r.session == nil && r.job == nil {
		w.deregister(r)
	}
}

// Groups lists the runner groups of an organization or enterprise that its own runners may join, oldest first.
func (w *World) Groups(s Scope) []Group {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Group
	for id, name := range w.groups[s.groups()] {
		if id != HostedGroup {
			out = append(out, Group{ID: id, Name: name})
		}
	}
	slices.SortFunc(out, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Runners lists the registrations of a scope, oldest first; the zero Scope means all.
func (w *World) Runners(s Scope) []Runner {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Runner
	for _, r := range w.runners {
		if s == (Scope{}) || r.Scope.is(s) {
			out = append(out, w.view(r))
		}
	}
	return out
}

// Registered lists the registrations of all times, those that were deleted too, oldest first.
func (w *World) Registered() []Runner {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Runner, 0, len(w.registered))
	for _, r := range w.registered {
		out = append(out, w.view(r))
	}
	return out
}

// Runner finds a registration of a scope by id.
func (w *World) Runner(s Scope, id int64) (Runner, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.findRunner(s, id)
	if !ok {
		return Runner{}, false
	}
	return w.view(r), true
}

// RemoveRunner deletes a registration. The error wraps ErrNotFound or ErrRunnerBusy. While Timing.BusyLag hides that
// a runner took a job, the deletion succeeds, as it does at GitHub, and the job goes on.
func (w *World) RemoveRunner(s Scope, id int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.findRunner(s, id)
	if !ok {
		return fmt.Errorf("runner %d: %w", id, ErrNotFound)
	}
	if w.busy(r) {
		return fmt.Errorf("runner %q: %w", r.Name, ErrRunnerBusy)
	}
	running := r.job != nil && r.job.Status == InProgress
	w.deregister(r)
	if r.session != nil && !running {
		w.drop(r.session)
	}
	w.assign()
	return nil
}

// deregister forgets the runner; a job that it was offered goes back to the queue.
func (w *World) deregister(r *runner) {
	r.offlineTimer.Stop()
	w.runners = slices.DeleteFunc(w.runners, func(o *runner) bool { return o == r })
	if r.job != nil && r.job.Status == Queued {
		w.requeue(r.job)
	}
}

func (w *World) findRunner(s Scope, id int64) (*runner, bool) {
	n := slices.IndexFunc(w.runners, func(r *runner) bool { return r.ID == id && (s == (Scope{}) || r.Scope.is(s)) })
	if n < 0 {
		return nil, false
	}
	return w.runners[n], true
}

func (w *World) busy(r *runner) bool {
	return r.job != nil && time.Since(r.job.AssignedAt) >= w.timing.BusyLag
}

func (w *World) view(r *runner) Runner {
	v := r.Runner
	v.Labels = slices.Clone(v.Labels)
	v.Online, v.Busy = r.session != nil, w.busy(r)
	return v
}

// fits tells whether the runner's scope covers the job's repository and its labels cover the job's.
func (r *runner) fits(j *job) bool {
	if !r.Scope.Covers(j.Job) {
		return false
	}
	for _, l := range j.Labels {
		if !slices.Contains(r.Labels, strings.ToLower(l)) {
			return false
		}
	}
	return true
}

func (s Scope) is(o Scope) bool {
	return strings.EqualFold(s.Enterprise, o.Enterprise) && strings.EqualFold(s.Owner, o.Owner) && strings.EqualFold(s.Repo, o.Repo)
}

// Covers tells whether runners of the scope may get the job, if they have its labels.
func (s Scope) Covers(j Job) bool {
	if s.Enterprise != "" {
		return strings.EqualFold(s.Enterprise, j.Enterprise)
	}
	owner, name, _ := strings.Cut(j.Repo, "/")
	return strings.EqualFold(s.Owner, owner) && (s.Repo == "" || strings.EqualFold(s.Repo, name))
}

// groups is the key of the runner groups that its runners may join.
func (s Scope) groups() string {
	return strings.ToLower(Scope{Enterprise: s.Enterprise, Owner: s.Owner}.Path())
}

// exists is nil if runners can be registered there.
func (w *World) exists(s Scope) error {
	if s.Enterprise != "" {
		if _, ok := w.groups[s.groups()]; !ok {
			return fmt.Errorf("enterprise %q: %w", s.Enterprise, ErrNotFound)
		}
		return nil
	}
	owner, ok := w.owners[strings.ToLower(s.Owner)]
	if !ok || (s.Repo == "" && !owner.Org) {
		return fmt.Errorf("organization %q: %w", s.Owner, ErrNotFound)
	}
	if _, ok := w.repos[strings.ToLower(s.Owner+"/"+s.Repo)]; !ok && s.Repo != "" {
		return fmt.Errorf("repository %q: %w", s.Owner+"/"+s.Repo, ErrNotFound)
	}
	return nil
}
