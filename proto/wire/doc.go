// Package wire is the one place where names on the queue are built and parsed: subjects, message ids, header names,
// keys, the names of runners, and the topology of streams, consumers and buckets as plain data.
//
// It imports nothing of NATS, so that both sides agree on data and each brings its own client. Nothing that came in
// with a webhook ever becomes part of a subject or a key, except numbers.
package wire
