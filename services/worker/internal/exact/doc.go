// Package exact is the exact simulator: the rules (package run), the shell that carries them out (launch) and the sweeps
// (sweep), as they are, among pure models of GitHub, Modal and JetStream, in virtual time.
//
// It is exact because one seed is one story. A single thread runs all of it: each message that a worker handles is a
// coroutine that gives way at every call to the outside, before its effect and after it, and a heap of events says who is
// next. All chance comes from the seed, each job's from a stream of its own, so that the story of a job changes little when
// other jobs are left out. That is how a failing run is shrunk to the few jobs that matter and printed.
//
// At each call a worker can die, before or after the effect; an answer can get lost; the effect can come after the caller
// has given up. Webhooks are lost, doubled, late and out of order, runners are taken by any job that they cover, sandboxes
// crash, hang and die, and GitHub, Modal and the broker go away and come back, the broker with what a backup of it holds, too.
//
// The checker (check.go) reads the models, never a metric or a log of the services. What the models know is written down
// from GitHub's, Modal's and NATS's documents and behaviour; nothing of the adapters is used here.
package exact
