// Package intake brings messages from the queue to the launcher and the launcher's verdicts back: done, again later, or
// given up. It also publishes what the launcher wants looked at, and reads the dead letters for people. No rule about jobs
// lives here.
//
// A message is acknowledged last, once everything that follows from it is stored. An acknowledgement is no lock: the
// server takes one from a delivery that has expired. The ledger's revisions are the lock.
//
// A wait longer than a moment never stays in the consumer, where it would hold one of the few places for unacknowledged
// messages and so keep healthy jobs waiting: a copy of the message is scheduled, and then the message is acknowledged.
package intake
