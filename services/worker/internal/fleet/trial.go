package fleet

import (
	"context"
	"fmt"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Trials has a newer release of the runner tried by one sandbox before all get it.
type Trials interface {
	// Good is the release that all sandboxes are to have, Candidate the one that is to be tried; zero if none is known. They ask nobody.
	Good() run.RunnerRelease
	Candidate() run.RunnerRelease
	// Due reports whether the candidate is to be tried by the next sandbox that is created. It asks nobody, either.
	Due() bool
	// Try reports whether the sandbox of the runner, which is to be created next, is the one that tries the version. The version is empty
	// if there is no image with a candidate; a trial that the runner was on is void then. Whoever asks again gets the same answer.
	Try(ctx context.Context, name run.Name, version string) (bool, error)
}

// CandidateKey is Key of the image with the release of the runner on it that is to be tried.
func CandidateKey(i run.Image) string { return Key(i) + "next" }

// candidates is Releases for the images with the candidate on them. While there is none they wait for one.
func (f *Fleet) candidates(ctx context.Context) (run.RunnerRelease, error) {
	for {
		if c := f.Trials.Candidate(); c.Version != "" {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return run.RunnerRelease{}, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// outdated reports whether the image is to have another release than it has.
func (f *Fleet) outdated(im *image) bool {
	made := im.built.Load()
	if f.Trials == nil || made == nil {
		return false
	}
	want := f.Trials.Good()
	if im.candidate {
		want = f.Trials.Candidate()
	}
	return want.Version != "" && want.Version != made.runner
}

// tries returns what the sandbox of the runner is to start from if it is the one that tries a candidate, and else im and from.
func (f *Fleet) tries(ctx context.Context, r run.Runner, im *image, from *built) (*image, *built, error) {
	if f.Trials == nil {
		return im, from, nil
	}
	next, candidate := f.next(im.Image)
	version := ""
	if candidate != nil {
		version = candidate.runner
	}
	on, err := f.Trials.Try(ctx, r.Name, version)
	if err != nil {
		return nil, nil, fmt.Errorf("trial of a runner version: %w", err)
	}
	if !on {
		return im, from, nil
	}
	return next, candidate, nil
}

// next is the image with the candidate on it, and what sandboxes start from; nil if there is none yet.
func (f *Fleet) next(i run.Image) (*image, *built) {
	f.imagesMu.Lock()
	defer f.imagesMu.Unlock()
	next := f.images[CandidateKey(i)]
	if next == nil {
		return nil, nil
	}
	return next, next.built.Load()
}

// TrialDue reports whether the next sandbox that is created from the image is to try a newer release of the runner. Those that wait for
// runners have been created already, so that none is tried as long as each job has one of them. It asks nobody.
func (f *Fleet) TrialDue(i run.Image) bool {
	if f.Trials == nil || !f.Trials.Due() {
		return false
	}
	_, candidate := f.next(i)
	return candidate != nil
}
