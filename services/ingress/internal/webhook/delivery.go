package webhook

import (
	"net/http"
	"strings"
	"time"

	jobsv1 "modal-github-runner/proto/jobs/v1"
)

// Outcome is how a delivery ended; its values are the label values of the metric.
type Outcome string

// How a delivery ends.
const (
	Published        Outcome = "published"
	Duplicate        Outcome = "duplicate"
	IgnoredAction    Outcome = "ignored_action"
	IgnoredLabel     Outcome = "ignored_label"
	IgnoredLookAlike Outcome = "ignored_lookalike"
	IgnoredPolicy    Outcome = "ignored_policy"
	Pinged           Outcome = "ping"
	BadSignature     Outcome = "bad_signature"
	TooLarge         Outcome = "too_large"
	Malformed        Outcome = "malformed"
	Throttled        Outcome = "throttled"
	QueueUnavailable Outcome = "queue_unavailable"
	Failed           Outcome = "error"
)

// Limit is what a delivery was throttled by; its values are the label values of the metric.
type Limit string

// What deliveries are throttled by.
const (
	BodyRoom         Limit = "body_room"         // no room for one more body
	PushedOut        Limit = "pushed_out"        // its body gave way to others
	SourceRate       Limit = "source_rate"       // its source sends too much that is not signed, and room is short
	AtWork           Limit = "in_flight"         // as many are at work as may be
	InstallationRate Limit = "installation_rate" // its tenant sends too much, and places are short
)

// Limits returns all there are.
func Limits() []Limit { return []Limit{BodyRoom, PushedOut, SourceRate, AtWork, InstallationRate} }

// The events that are told apart, and how all others are called, so that nobody can invent labels of metrics.
const (
	eventJob   = "workflow_job"
	eventPing  = "ping"
	other      = "other"
	unverified = "unverified"
)

// Delivery is one answered webhook. Event and Action are from a fixed set each.
type Delivery struct {
	Event    string
	Action   string
	Outcome  Outcome
	Limit    Limit // empty unless Outcome is Throttled
	Status   int
	Duration time.Duration // from the end of the headers to the answer
	Verified bool          // the signature was good

	received time.Time
	id       string
	job      *jobsv1.JobEvent
	reason   Reason
	err      error
	stack    string
}

func (d *Delivery) done() bool { return d.Status != 0 }

func (d *Delivery) refuse(status int, outcome Outcome, err error) {
	d.Status, d.Outcome, d.err = status, outcome, err
}

func (d *Delivery) throttle(by Limit) {
	d.Status, d.Outcome, d.Limit = http.StatusServiceUnavailable, Throttled, by
}

func (d *Delivery) accept(status int, outcome Outcome) { d.Status, d.Outcome = status, outcome }

func (d *Delivery) ignore(reason Reason) {
	d.accept(http.StatusAccepted, outcomeOf(reason))
	d.reason = reason
}

func outcomeOf(reason Reason) Outcome {
	switch reason {
	case OtherLabels:
		return IgnoredLabel
	case LookAlike:
		return IgnoredLookAlike
	case RepoRefused, PublicUnsaid:
		return IgnoredPolicy
	case OtherEvent, OtherAction, None:
	}
	return IgnoredAction
}

// answer writes the constant body of the delivery's status.
func (d *Delivery) answer(w http.ResponseWriter) {
	body := strings.ToLower(http.StatusText(d.Status))
	if d.Status == http.StatusAccepted && d.reason != None {
		body = "ignored"
	}
	answer(w, d.Status, body+"\n")
	d.Duration = time.Since(d.received)
}

func eventOf(header string) string {
	switch header {
	case eventJob, eventPing:
		return header
	}
	return other
}

func actionLabel(action jobsv1.Action) string {
	switch action {
	case jobsv1.Action_ACTION_QUEUED:
		return "queued"
	case jobsv1.Action_ACTION_WAITING:
		return "waiting"
	case jobsv1.Action_ACTION_IN_PROGRESS:
		return "in_progress"
	case jobsv1.Action_ACTION_COMPLETED:
		return "completed"
	case jobsv1.Action_ACTION_UNSPECIFIED:
	}
	return other
}
