// Package bubble plays a week of the whole system in minutes: the real ingress and worker apps, a real nats-server, and the
// simulated GitHub and Modal, with no network and no process between them, in one bubble of testing/synctest. Time jumps to
// the next moment at which anybody has something to do.
//
// A run is made from a seed, and so are its faults, but it can't be repeated exactly: which of two goroutines that could go
// on does so is not decided by the seed. What holds must therefore hold in every run.
//
// Nothing here may look at what the services say of themselves, their metrics and logs, to judge them: package check judges
// the world. No production code decides to fail; the fakes and the connections do.
package bubble
