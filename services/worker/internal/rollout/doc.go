// Package rollout has a newer release of GitHub's runner tried by one sandbox before all get it. What is in use, what is tried and
// what was refused is on record in the KV bucket "control", in one key that changes by compare-and-set only, so that all workers act on
// the same.
//
// A release that is newer than the one in use is the candidate. The sandbox of one runner, launched for a job as any other, tries it.
// Its record in the ledger tells how that went, whoever reads it and however often: once that runner has taken a job, all get the
// candidate; if it ends without one, the next launch after a pause, for another job, is the next trial, and after some of
// them in a row that failed the candidate is refused. An exit code says nothing of a runner. A trial that was cut short, as by the end of
// the job, proves nothing.
//
// The rules are in state.go, which has no clock and calls nobody.
package rollout
