// Package budget keeps all workers together within what GitHub grants each caller: an installation, a token, or the App
// itself. The points of a minute are written down in the KV bucket "control", by compare-and-set, before a request is sent,
// so that their sum is exact whoever takes them. So is until when GitHub said to stop: whoever takes points after that was
// written can't miss it. And so is how many requests each worker has under way at most, whose sum is thereby bounded, too.
//
// Nobody can be there at the very moment when points are free, and points that nobody takes then are lost. So a launch that comes a moment
// before takes them in advance: they are written down for that moment, and it waits.
//
// The rules are in rules.go, without a clock, a network or chance. No request may ever be made or known here, and nothing
// here may block launches for good: a record that can't be read is begun anew, one whose times can't be true counts for
// nothing, and while NATS is away each worker keeps to its fair share of what was left.
package budget
