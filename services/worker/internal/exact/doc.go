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
// crash, hang and die, and ingress, GitHub, Modal and the broker go away and come back, the broker with what a backup of it holds,
// too. In half of the stories sandboxes wait for runners (warm.go), and are given to them late, unheard or in vain.
//
// The checker (check.go) reads the models, never a metric or a log of the services. What the models know is written down
// from GitHub's, Modal's and NATS's documents and behaviour; nothing of the adapters is used here.
//
// What the system does not claim is no violation, but is counted and told apart from those, as excused (excuse.go). All of it comes of
// a broker whose stream was purged or whose backup was restored. A job stays queued at GitHub if its event had been acknowledged, nothing
// of it is left, and nothing on record or in the configuration leads to its repository: the sweeps ask about known ones only. A
// registration of such a job is left to GitHub, which removes it in a day. And a limit is exceeded by the sandboxes that ran or were on
// their way when the backup came back whose places are not in it, until they end: the sweep counts them within a minute, but what was
// launched before has its place too. Against these excuses, a job of a repository that is on record must be found, and whoever was given
// a place keeps the limit.
package exact
