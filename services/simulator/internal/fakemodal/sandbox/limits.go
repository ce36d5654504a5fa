package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/time/rate"
)

// Limits bound what a workspace may create. Zero means no bound.
type Limits struct {
	// MaxSandboxes is how many may exist at once, of both backends together.
	MaxSandboxes int `json:"max_sandboxes"`
	// CreatesPerSecondV1 and CreatesPerSecondV2 bound how many may be created in a second, per backend.
	// Modal's default for V1 is reported as 5 (github.com/PrimeIntellect-ai/verifiers, issue 1639).
	CreatesPerSecondV1 float64 `json:"creates_per_second_v1"`
	CreatesPerSecondV2 float64 `json:"creates_per_second_v2"`
}

// Validate reports every mistake in the limits.
func (l Limits) Validate() error {
	var errs []error
	if l.MaxSandboxes < 0 {
		errs = append(errs, fmt.Errorf("max_sandboxes: must not be negative (got %d)", l.MaxSandboxes))
	}
	if l.CreatesPerSecondV1 < 0 {
		errs = append(errs, fmt.Errorf("creates_per_second_v1: must not be negative (got %v)", l.CreatesPerSecondV1))
	}
	if l.CreatesPerSecondV2 < 0 {
		errs = append(errs, fmt.Errorf("creates_per_second_v2: must not be negative (got %v)", l.CreatesPerSecondV2))
	}
	return errors.Join(errs...)
}

func (l Limits) perSecond(b Backend) float64 {
	if b == V1 {
		return l.CreatesPerSecondV1
	}
	return l.CreatesPerSecondV2
}

func (l Limits) limiters() map[Backend]*rate.Limiter {
	out := map[Backend]*rate.Limiter{}
	for _, b := range []Backend{V1, V2} {
		limit, burst := rate.Inf, 0
		if per := l.perSecond(b); per > 0 {
			limit, burst = rate.Limit(per), max(1, int(per))
		}
		out[b] = rate.NewLimiter(limit, burst)
	}
	return out
}

// RateError says that too many sandboxes were created within a second.
type RateError struct{ PerSecond float64 }

// Error uses the words that Modal's V1 backend is reported to use (github.com/PrimeIntellect-ai/verifiers, issue 1639).
func (e *RateError) Error() string {
	return fmt.Sprintf("Sandbox creation rate limit (%g/s) exceeded", e.PerSecond)
}

// Limits returns the limits in force.
func (st *Store) Limits() Limits {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.limits
}

// SetLimits replaces the limits. What exists stays, even if there is more of it than the new limits allow.
func (st *Store) SetLimits(l Limits) error {
	if err := l.Validate(); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.limits, st.rates = l, l.limiters()
	return nil
}
