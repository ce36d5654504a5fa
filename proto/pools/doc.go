// Package pools is the pools file: which labels lead to which pool, what a sandbox of a pool gets, and what limits, weights
// and prices there are. Both services read it, so that ingress publishes a job for the pool that the worker serves.
//
// The types of this package are the format: their tags say how each field is called and what it may be, the reader follows
// them, and pools.schema.json, for editors, is made of them. A [File] is never changed once it is read.
//
// What may never happen here: a default that depends on anything but the file, a field that is known but does nothing, a mistake
// that is only found once a job comes, and a call to anybody.
package pools
