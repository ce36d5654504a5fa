// Package obs is how one looks into a running service: logs, metrics, traces, the admin listener, the version.
//
// What may never happen here: a registry, logger or tracer that is global (OpenTelemetry's reports about itself can't be
// anything else), and a metric, an attribute or a request of one service only: a service mounts its own requests on the
// admin listener.
package obs
