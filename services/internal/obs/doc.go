// Package obs is how one looks into a running service: logs, metrics, traces, the admin listener, the version.
//
// What may never happen here: a registry, logger or tracer that is global, a metric or an attribute of one service only,
// and a request to the admin listener that changes what the service does.
package obs
