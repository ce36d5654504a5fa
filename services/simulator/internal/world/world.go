package world

import (
	"cmp"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Timing holds the time limits of GitHub Actions. A zero field takes its default.
type Timing struct {
	Acquire  time.Duration // an assigned job that no runner acquires goes back to the queue; default 60 s (GitHub Docs, self-hosted-runners)
	Queue    time.Duration // a job queued longer is cancelled; default 24 h (GitHub Docs, Actions limits)
	JIT      time.Duration // a JIT configuration opens a session within this time; default 1 h (actions/runner issue 4248)
	Offline  time.Duration // an ephemeral runner offline for so long is removed; default 24 h (GitHub Docs)
	Silence  time.Duration // an idle session that does not poll is closed; default 2 min, above two long polls of 50 s
	Lock     time.Duration // a job whose runner is silent for so long fails; default 10 min, the runner's job lock
	BusyLag  time.Duration // how late a runner that took a job shows busy; default 0, measured at GitHub: about a minute
	LongPoll time.Duration // the longest wait of Poll; default 50 s, as the runner's broker
}

func (t Timing) withDefaults() Timing {
	return Timing{
		Acquire: cmp.Or(t.Acquire, time.Minute), Queue: cmp.Or(t.Queue, 24*time.Hour),
		JIT: cmp.Or(t.JIT, time.Hour), Offline: cmp.Or(t.Offline, 24*time.Hour),
		Silence: cmp.Or(t.Silence, 2*time.Minute), Lock: cmp.Or(t.Lock, 10*time.Minute),
		BusyLag: t.BusyLag, LongPoll: cmp.Or(t.LongPoll, 50*time.Second),
	}
}

// Options of New.
type Options struct {
	// Seed decides which of several fitting runners gets a job.
	Seed uint64
	// Timing overrides GitHub's time limits.
	Timing Timing
	// Listener hears every event in order. It is called under the World's lock: it must be quick and must not call
	// back. Nil means that nobody listens.
	Listener func(Event)
}

// World is one GitHub. Close it to stop its timers.
type World struct {
	timing   Timing
	listener func(Event)

	mu            sync.Mutex
	closed        bool
	rnd           *mathrand.Rand
	lastID        map[string]int64
	owners        map[string]Owner // by lower-case login
	repos         map[string]Repo  // by lower-case full name
	groups        map[string]map[int64]string
	installations []Installation
	runs          []*run
	jobs          map[int64]*job
	queue         []*job    // queued and not assigned, oldest first
	runners       []*runner // that are registered
	registered    []*runner // that ever were
	sessions      map[string]*session
	minVersion    string
}

// New makes an empty world.
func New(o Options) *World {
	if o.Listener == nil {
		o.Listener = func(Event) {}
	}
	return &World{
		timing: o.Timing.withDefaults(), listener: o.Listener,
		rnd:    mathrand.New(mathrand.NewPCG(o.Seed, 1)), //nolint:gosec // reproducible by design
		lastID: map[string]int64{}, owners: map[string]Owner{}, repos: map[string]Repo{},
		groups: map[string]map[int64]string{}, jobs: map[int64]*job{}, sessions: map[string]*session{},
	}
}

// Close ends every session and stops every timer. The state stays readable.
func (w *World) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, j := range w.jobs {
		j.queueTimer.Stop()
		j.acquireTimer.Stop()
	}
	for _, r := range w.runners {
		r.offlineTimer.Stop()
	}
	for _, s := range w.sessions {
		w.drop(s)
	}
}

// nextID counts per kind, from a base that gives ids the size that GitHub's have.
func (w *World) nextID(kind string, base int64) int64 {
	w.lastID[kind]++
	return base + w.lastID[kind]
}

// AddOwner creates a user or an organization. The error wraps ErrExists or ErrInvalid.
func (w *World) AddOwner(login string, org bool) (Owner, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if login == "" || strings.ContainsAny(login, "/ ") {
		return Owner{}, fmt.Errorf("login: must be a name without slash and space (got %q): %w", login, ErrInvalid)
	}
	key := strings.ToLower(login)
	if _, ok := w.owners[key]; ok {
		return Owner{}, fmt.Errorf("owner %q: %w", login, ErrExists)
	}
	o := Owner{ID: w.nextID("owner", 38_000_000), Login: login, Org: org}
	w.owners[key] = o
	w.groups[key] = ownGroups()
	return o, nil
}

// ownGroups are the runner groups that everybody has who may have any.
func ownGroups() map[int64]string {
	return map[int64]string{DefaultGroup: "Default", HostedGroup: "GitHub Actions"}
}

// Join puts an organization into an enterprise, which is made if there is none of that slug. Of jobs it counts for those that come after
// it. The error wraps ErrNotFound or ErrInvalid.
func (w *World) Join(org, enterprise string) (Owner, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, ok := w.owners[strings.ToLower(org)]
	switch {
	case !ok || !o.Org:
		return Owner{}, fmt.Errorf("organization %q: %w", org, ErrNotFound)
	case enterprise == "" || strings.ContainsAny(enterprise, "/ "):
		return Owner{}, fmt.Errorf("enterprise: must be a name without slash and space (got %q): %w", enterprise, ErrInvalid)
	}
	if key := (Scope{Enterprise: enterprise}).groups(); w.groups[key] == nil {
		w.groups[key] = ownGroups()
	}
	o.Enterprise = enterprise
	w.owners[strings.ToLower(org)] = o
	return o, nil
}

// enterpriseOf is the one that the owner of a repository is in.
func (w *World) enterpriseOf(repo string) string {
	owner, _, _ := strings.Cut(repo, "/")
	return w.owners[strings.ToLower(owner)].Enterprise
}

// Enterprise tells whether there is one of that slug.
func (w *World) Enterprise(slug string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exists(Scope{Enterprise: slug}) == nil
}

// AddRepo creates a repository of an existing owner. The error wraps ErrExists, ErrNotFound or ErrInvalid.
func (w *World) AddRepo(owner, name string, private bool) (Repo, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, ok := w.owners[strings.ToLower(owner)]
	switch {
	case !ok:
		return Repo{}, fmt.Errorf("owner %q: %w", owner, ErrNotFound)
	case name == "" || strings.ContainsAny(name, "/ "):
		return Repo{}, fmt.Errorf("name: must be a name without slash and space (got %q): %w", name, ErrInvalid)
	}
	r := Repo{Owner: o.Login, Name: name, Private: private, CreatedAt: time.Now()}
	key := strings.ToLower(r.FullName())
	if _, ok := w.repos[key]; ok {
		return Repo{}, fmt.Errorf("repository %q: %w", r.FullName(), ErrExists)
	}
	r.ID = w.nextID("repo", 186_000_000)
	w.repos[key] = r
	return r, nil
}

// AddGroup creates a runner group of an owner and returns its id, 3 or more. The error wraps ErrNotFound.
func (w *World) AddGroup(owner, name string) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g, ok := w.groups[strings.ToLower(owner)]
	if !ok {
		return 0, fmt.Errorf("owner %q: %w", owner, ErrNotFound)
	}
	id := int64(len(g)) + 1
	g[id] = name
	return id, nil
}

// Install installs the App with the webhook for the named repositories of owner, or for all without names. The error wraps
// ErrExists or ErrNotFound.
func (w *World) Install(owner string, repos ...string) (Installation, error) {
	return w.InstallApp(0, owner, repos...)
}

// InstallApp is Install for another App, whose id is app.
func (w *World) InstallApp(app int64, owner string, repos ...string) (Installation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, ok := w.owners[strings.ToLower(owner)]
	if !ok {
		return Installation{}, fmt.Errorf("owner %q: %w", owner, ErrNotFound)
	}
	for _, name := range repos {
		if _, ok := w.repos[strings.ToLower(owner+"/"+name)]; !ok {
			return Installation{}, fmt.Errorf("repository %q: %w", owner+"/"+name, ErrNotFound)
		}
	}
	if slices.ContainsFunc(w.installations, func(i Installation) bool { return i.App == app && i.Owner == o.Login }) {
		return Installation{}, fmt.Errorf("installation for %q: %w", o.Login, ErrExists)
	}
	i := Installation{ID: w.nextID("installation", 3_400_000), App: app, Owner: o.Login, Repos: slices.Clone(repos), CreatedAt: time.Now()}
	w.installations = append(w.installations, i)
	return i, nil
}

// Owner finds a user or an organization by login, in any case.
func (w *World) Owner(login string) (Owner, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, ok := w.owners[strings.ToLower(login)]
	return o, ok
}

// Repo finds a repository, in any case.
func (w *World) Repo(owner, name string) (Repo, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.repos[strings.ToLower(owner+"/"+name)]
	return r, ok
}

// Repos lists the repositories of an owner by id.
func (w *World) Repos(owner string) []Repo {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Repo
	for _, r := range w.repos {
		if strings.EqualFold(r.Owner, owner) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Repo) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Installations lists where the App is installed, oldest first.
func (w *World) Installations() []Installation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.installations)
}

// Covers tells whether the installation reaches the repository.
func (i Installation) Covers(r Repo) bool {
	return strings.EqualFold(i.Owner, r.Owner) &&
		(len(i.Repos) == 0 || slices.ContainsFunc(i.Repos, func(n string) bool { return strings.EqualFold(n, r.Name) }))
}

func (w *World) installationFor(r Repo) int64 {
	for _, i := range w.installations {
		if i.App == 0 && i.Covers(r) {
			return i.ID
		}
	}
	return 0
}
