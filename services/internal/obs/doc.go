// Package obs is how one looks into a running service: logs, metrics, traces, the admin listener, the version.
//
// What may never happen here: a registry, logger or tracer that is global, and a metric, an attribute or a request
// of one service only: a service mounts its own requests on the admin listener.
package obs
