// Package sweep repairs what no message told of: it compares what GitHub, Modal and the ledger say, and hands what it finds
// to those who decide.
//
// A sweep changes no record and ends nothing that has one. It says what it found, as an event of package run, to the same
// Launcher that handles messages, or puts it on the queue; so sweeps, messages and a second worker's sweeps may all run at
// once. It acts on complete lists only, asks again about each single thing before it says that the thing is gone, and
// leaves alone what is younger than the grace. A check that fails means that the job still wants what it has.
//
// Warm sandboxes are no job's and have no runner's record, so that their sweep decides itself (warm.go), by changes of the record of
// places, which a launch that claims one changes, too.
//
// No rule about jobs and runners may ever live here, and no call to NATS, GitHub or Modal: those are the adapters behind the
// ports.
package sweep
