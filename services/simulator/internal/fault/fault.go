// Package fault decides, from one seed, which operations of the simulator go wrong and how.
// The fakes ask before each operation; production code never does.
package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"sync"
	"time"
)

// Rule says how the operations that it matches go wrong. Rules are tried in order; the first that strikes wins.
type Rule struct {
	// Op is a path.Match pattern over the operation's name: "github.generate-jitconfig",
	// "modal.SandboxCreateV2", "webhook.queued".
	Op string `json:"op"`
	// Probability that a matching operation is struck, 0 to 1. Zero means always.
	Probability float64 `json:"probability,omitempty"`
	// Times is how often the rule strikes before it is spent. Zero means without end.
	Times int `json:"times,omitempty"`
	// Latency is added before the answer.
	Latency Duration `json:"latency,omitzero"`
	// Error is what the operation answers: an HTTP status for "github.*" ("503"), a gRPC code for "modal.*"
	// ("UNAVAILABLE"), "lost" or "duplicate" for "webhook.*". Empty means that it succeeds, late.
	Error string `json:"error,omitempty"`
	// After lets the operation take effect before its answer is replaced by Error.
	After bool `json:"after,omitempty"`
}

// Validate reports every mistake in the rule.
func (r Rule) Validate() error {
	var errs []error
	if _, err := path.Match(r.Op, ""); err != nil || r.Op == "" {
		errs = append(errs, fmt.Errorf("op: must be a pattern of path.Match (got %q)", r.Op))
	}
	if r.Probability < 0 || r.Probability > 1 {
		errs = append(errs, fmt.Errorf("probability: must be between 0 and 1 (got %v)", r.Probability))
	}
	if r.Times < 0 {
		errs = append(errs, fmt.Errorf("times: must not be negative (got %d)", r.Times))
	}
	if r.Latency < 0 {
		errs = append(errs, fmt.Errorf("latency: must not be negative (got %v)", time.Duration(r.Latency)))
	}
	return errors.Join(errs...)
}

// Outcome is what one operation meets. The zero value means that nothing goes wrong.
type Outcome struct {
	Latency time.Duration
	Error   string
	After   bool
}

// Injector draws outcomes. It is safe for concurrent use; the nil Injector never strikes.
type Injector struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	rules   []Rule
	struck  []int
	strikes map[string]int
}

// New makes an Injector whose draws depend on seed alone.
func New(seed uint64) *Injector {
	return &Injector{rnd: rand.New(rand.NewPCG(seed, seed)), strikes: map[string]int{}} //nolint:gosec // reproducible by design
}

// Set replaces all rules and forgets how often each has struck. Nothing changes if one is invalid.
func (i *Injector) Set(rules []Rule) error {
	for n, r := range rules {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("rule %d: %w", n, err)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rules, i.struck = rules, make([]int, len(rules))
	return nil
}

// Next draws what the operation op meets.
func (i *Injector) Next(op string) Outcome {
	if i == nil {
		return Outcome{}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, r := range i.rules {
		if ok, _ := path.Match(r.Op, op); !ok || (r.Times > 0 && i.struck[n] >= r.Times) {
			continue
		}
		if r.Probability > 0 && i.rnd.Float64() >= r.Probability {
			continue
		}
		i.struck[n]++
		i.strikes[op]++
		return Outcome{Latency: time.Duration(r.Latency), Error: r.Error, After: r.After}
	}
	return Outcome{}
}

// Strikes counts, per operation, how often a rule struck since New.
func (i *Injector) Strikes() map[string]int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return maps.Clone(i.strikes)
}

// Duration is a time.Duration that reads and writes as "1.5s" in JSON.
type Duration time.Duration

// MarshalJSON writes the duration as time.Duration prints it.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads what time.ParseDuration reads.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration: must be a string such as %q: %w", "1.5s", err)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}
