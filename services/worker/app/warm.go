package app

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"modal-github-runner/proto/pools"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// specBytes is how much of a SHA-256 tells what a pool has been from what it is.
const specBytes = 6

// runsFirst tells what sandboxes run first. It is found out once: the spec of each job that stands in line is wanted each second.
var runsFirst = sha256.Sum256([]byte(fleet.Entrypoint())) //nolint:gochecknoglobals // a constant

// warmPools are the pools that keep sandboxes warm at some time, with what each of these is and how many are wanted now. Of a pool that is
// not among them none is.
func (r rules) warmPools(now time.Time) []sweep.WarmPool {
	f := r.File()
	var warm []sweep.WarmPool
	for _, p := range f.Pools {
		if p.Warm.Count == 0 {
			continue
		}
		pool := r.made(f, p, p)
		warm = append(warm, sweep.WarmPool{Pool: pool, Want: p.Warm.At(now), Ask: places.Ask{Pool: p.Name, Sandbox: places.Sandbox{
			Price: p.PricePerSecond(f.Prices), Timeout: p.Timeout + pools.WarmExtra, StartLimit: pool.StartLimit(), Spec: specOf(pool),
		}}})
	}
	return warm
}

// specFor is the spec of what the job's sandbox will be; empty if it can have none, or is to be a new one, which tries a newer release of the
// runner: else none would be tried where all jobs find a sandbox that waits.
func (r rules) specFor(j run.Job) string {
	pool, err := r.sandboxFor(j)
	if err != nil || r.trialDue(pool.Image) {
		return ""
	}
	return specOf(pool)
}

// specOf tells a sandbox from all that differ from it in anything that is asked of Modal, or in what they run first, which other versions
// of the worker may speak to in another way; the same on all workers of a version.
func specOf(p run.Pool) string {
	data, err := json.Marshal(p) //nolint:musttag // Nobody reads it; its maps are in order.
	if err != nil {
		panic(fmt.Sprintf("pool %s: %v", p.Name, err)) // It has a field of a kind that JSON has not.
	}
	sum := sha256.Sum256(append(data, runsFirst[:]...))
	return hex.EncodeToString(sum[:specBytes])
}
