package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	jobsv1 "modal-github-runner/proto/jobs/v1"
)

const (
	queuedPrefix      = "jobs.queued."
	laterPrefix       = "jobs.later."
	anyPrefix         = "jobs."
	foundPrefix       = "jobs.found."
	deadJobPrefix     = "dead.jobs."
	deadMessagePrefix = "dead.messages."

	// SubjectWaiting carries the jobs that wait for an approval.
	SubjectWaiting = "jobs.waiting"
	// SubjectStarted carries the jobs that a runner took.
	SubjectStarted = "jobs.started"
	// SubjectFinished carries the jobs that ended or were cancelled.
	SubjectFinished = "jobs.finished"
)

// maxPoolName bounds a pool's name, so that a subject stays far below the server's limit on control lines.
const maxPoolName = 40

// ErrPoolName says that a pool's name can't be part of a subject, a consumer's name and a metric's label.
var ErrPoolName = errors.New("must be 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or a digit")

// CheckPoolName returns ErrPoolName unless name can be used in subjects.
func CheckPoolName(name string) error {
	if name == "" || len(name) > maxPoolName || name[0] == '-' || name[len(name)-1] == '-' {
		return ErrPoolName
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return ErrPoolName
		}
	}
	return nil
}

// QueuedSubject is the subject of the jobs that wait for a runner of pool, whose name CheckPoolName accepts.
func QueuedSubject(pool string) string { return queuedPrefix + pool }

// LaterSubject is the subject on which a copy of a job's event waits for its time. The server keeps the last copy of
// a subject only, so that each action of a job has at most one copy ahead of it.
func LaterSubject(action jobsv1.Action, jobID int64) string {
	return laterPrefix + strconv.Itoa(int(action)) + "." + strconv.FormatInt(jobID, 10)
}

// DeadJobSubject is where the dead letter of a job is. The stream keeps the last one of a subject.
func DeadJobSubject(jobID int64) string { return deadJobPrefix + strconv.FormatInt(jobID, 10) }

// DeadMessageSubject is where the dead letter of an undecodable message is, by its sequence in the stream JOBS.
func DeadMessageSubject(sequence uint64) string {
	return deadMessagePrefix + strconv.FormatUint(sequence, 10)
}

// Subject is where ev belongs. It returns an error if ev has no known action, or is queued for a pool whose name can't
// be part of a subject.
func Subject(ev *jobsv1.JobEvent) (string, error) {
	switch ev.GetAction() {
	case jobsv1.Action_ACTION_QUEUED:
		if err := CheckPoolName(ev.GetPool()); err != nil {
			return "", fmt.Errorf("pool: %w (got %q)", err, ev.GetPool())
		}
		return QueuedSubject(ev.GetPool()), nil
	case jobsv1.Action_ACTION_WAITING:
		return SubjectWaiting, nil
	case jobsv1.Action_ACTION_IN_PROGRESS:
		return SubjectStarted, nil
	case jobsv1.Action_ACTION_COMPLETED:
		return SubjectFinished, nil
	case jobsv1.Action_ACTION_UNSPECIFIED:
	}
	return "", fmt.Errorf("action: must be one of the known ones (got %v)", ev.GetAction())
}

// FoundSubject is where ev belongs if no webhook told of it, but a worker found it out. Consumers make no difference between the
// two; the server does, by who may publish what: ingress what GitHub signed, workers what they found.
func FoundSubject(ev *jobsv1.JobEvent) (string, error) {
	subject, err := Subject(ev)
	if err != nil {
		return "", err
	}
	return found(subject), nil
}

func found(subject string) string { return foundPrefix + strings.TrimPrefix(subject, anyPrefix) }

// withFound are the subjects, each followed by that of the same found out by workers.
func withFound(subjects ...string) []string {
	var all []string
	for _, s := range subjects {
		all = append(all, s, found(s))
	}
	return all
}
