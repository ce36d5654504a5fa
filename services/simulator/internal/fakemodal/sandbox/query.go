package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Find returns the sandbox of the backend with the id, running or ended, or ErrNotFound.
func (st *Store) Find(b Backend, id string) (*Sandbox, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if s, ok := st.byID[id]; ok && s.spec.Backend == b {
		return s, nil
	}
	return nil, fmt.Errorf("sandbox %q: %w", id, ErrNotFound)
}

// FindTask returns the sandbox with the task, or ErrNotFound.
func (st *Store) FindTask(id string) (*Sandbox, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if s, ok := st.byTask[id]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("task %q: %w", id, ErrNotFound)
}

// FindName returns the newest sandbox with the name in the app, or ErrNotFound. Ended ones count only on request.
func (st *Store) FindName(b Backend, appID, name string, alsoEnded bool) (*Sandbox, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, s := range slices.Backward(st.candidates(alsoEnded)) {
		if s.spec.Backend == b && s.spec.AppID == appID && s.name() == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("sandbox named %q: %w", name, ErrNotFound)
}

// Filter says which sandboxes List returns.
type Filter struct {
	Backends  []Backend         // any of them
	AppIDs    []string          // any of them
	Tags      map[string]string // all of them
	Before    time.Time         // created earlier than this; zero means no bound
	AlsoEnded bool
	Limit     int
}

// List returns the matching sandboxes, the newest first.
func (st *Store) List(f Filter) []*Sandbox {
	st.mu.Lock()
	defer st.mu.Unlock()
	var out []*Sandbox
	for _, s := range slices.Backward(st.candidates(f.AlsoEnded)) {
		if len(out) == f.Limit {
			break
		}
		if f.matches(s) {
			out = append(out, s)
		}
	}
	return out
}

func (f Filter) matches(s *Sandbox) bool {
	if !slices.Contains(f.Backends, s.spec.Backend) || !slices.Contains(f.AppIDs, s.spec.AppID) {
		return false
	}
	if !f.Before.IsZero() && !s.createdAt.Before(f.Before) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, value := range f.Tags {
		if got, ok := s.tags[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// candidates returns sandboxes by creation. The caller holds mu.
func (st *Store) candidates(alsoEnded bool) []*Sandbox {
	if alsoEnded {
		return st.all
	}
	return st.live
}

// Snapshot is the state and the history of a Store.
type Snapshot struct {
	// Sandboxes are all since the start, by creation.
	Sandboxes []Record `json:"sandboxes"`
	// Running counts those that have not ended, PeakRunning the most there have ever been at once.
	Running     int `json:"running"`
	PeakRunning int `json:"peak_running"`
	// MaxPerName is, by name, the most sandboxes there have ever been at once, in all apps together.
	MaxPerName map[string]int `json:"max_per_name"`
}

// Snapshot returns what is and was.
func (st *Store) Snapshot() Snapshot {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := Snapshot{Running: len(st.live), PeakRunning: st.mostLive, MaxPerName: maps.Clone(st.mostName)}
	out.Sandboxes = make([]Record, 0, len(st.all))
	for _, s := range st.all {
		out.Sandboxes = append(out.Sandboxes, s.Record())
	}
	return out
}
