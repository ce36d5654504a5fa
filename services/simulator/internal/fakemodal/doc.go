// Package fakemodal is the simulated Modal: its control plane and its command router, as version 0.11 of the Go and
// JavaScript SDKs speak to them over gRPC, with sandboxes that are real processes.
//
// The server itself lives here: credentials, faults, connections, the record for checkers. The calls are answered by
// controlplane and router, which translate by wire what sandbox and catalog keep; machine runs the programs. Nothing
// in this tree may share code with the services that are tested against it, since a mistake in common would
// cancel out. Facts about Modal that are not commented otherwise were read in the source of the SDK,
// github.com/modal-labs/modal-client/go v0.11.1.
//
// Known to differ from Modal: volumes and images hold no files, an idle timeout and a readiness probe are recorded
// without effect, sandboxes are not isolated from the computer they run on, and methods that the SDK does not need
// for sandboxes, images, secrets, volumes and logs answer UNIMPLEMENTED.
package fakemodal
