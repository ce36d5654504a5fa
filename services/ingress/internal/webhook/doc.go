// Package webhook is the public face of the system: it answers GitHub's webhooks.
//
//	input                                                     status
//	another path                                              404
//	another method                                            405
//	more requests at work than allowed                        503 + Retry-After
//	not application/json, or a content encoding               415
//	body over the limit, declared or sent                     413
//	body cut off, or two signatures                           400
//	no, wrong or SHA-1 signature                              401
//	verified, no or bad X-GitHub-Delivery or X-GitHub-Event   400
//	verified ping                                             200
//	verified, not ours                                        202 "ignored"
//	verified, ours, not decodable                             400
//	verified, ours, stored or stored before                   202 "accepted"
//	verified, ours, not stored in time                        503 + Retry-After
//	a bug                                                     500
//
// What may never happen here: a look at a body whose signature has not been verified, a 2xx for a wanted event that the
// queue did not confirm, an answer that depends on what is configured beyond this table or repeats input, and a log line
// with a body or a header other than the delivery's id.
package webhook
