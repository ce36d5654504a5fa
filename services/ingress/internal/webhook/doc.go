// Package webhook is the public face of the system: it answers GitHub's webhooks.
//
//	input                                                     status
//	another path                                              404
//	another method                                            405
//	not application/json, or a content encoding               415
//	body over the limit, declared or sent                     413
//	room for bodies is short and its source sent too much     503 + Retry-After
//	no room for one more body, or pushed out by others        503 + Retry-After
//	body cut off or slow, or two signatures                   400
//	no, wrong or SHA-1 signature                              401
//	verified, no or bad X-GitHub-Delivery or X-GitHub-Event   400
//	verified ping                                             200
//	verified, not ours                                        202 "ignored"
//	verified, ours, not decodable                             400
//	verified, ours, more at work than its tenant may have     503 + Retry-After
//	verified, ours, stored or stored before                   202 "accepted"
//	verified, ours, not stored in time                        503 + Retry-After
//	a bug                                                     500
//
// GitHub lists what was refused as failed, and the worker's sweep of deliveries has it sent again: for two days, but for 400 only until it
// is beyond doubt that it is always answered so.
//
// A body holds only what [limit.Bodies] gives it, must come within 3 s, and is gone once it is decided about; what is at
// work for GitHub has places of its own, which nobody without the secret can take. So the memory for bodies is at most twice
// the room of Bodies, times 2.5 for what io.ReadAll allocates beyond what it has read: with the defaults of ingress 160 MiB.
// Decoding can copy the bodies once, 64 MiB. An event at work has at most 100 KiB, in all its copies: 25 MiB. What is known
// of sources and tenants takes 2 MiB each, and connections beside their requests 136 MiB, by [limit.Conns]. Garbage comes on
// top, as GOMEMLIMIT lets it.
//
// What may never happen here: a look at a body whose signature has not been verified, a 2xx for a wanted event that the
// queue did not confirm, an answer that depends on what is configured beyond this table or repeats input, and a log line
// with a body or a header other than the delivery's id.
package webhook
