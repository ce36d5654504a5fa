package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	jobsv1 "modal-github-runner/proto/jobs/v1"
)

const runnerPrefix = "mgr-"

// RunnerName is the name of the runner that was launched for a job's attempt, at GitHub and at Modal alike. It is at
// most 43 bytes of a-z, 0-9 and -, which both accept; Modal allows 64.
func RunnerName(jobID int64, attempt int) string {
	return runnerPrefix + strconv.FormatInt(jobID, 10) + "-" + strconv.Itoa(attempt)
}

// ParseRunnerName is the inverse of RunnerName. It reports false for every name that RunnerName can't have made, which
// is how a runner of ours is told from anybody else's.
func ParseRunnerName(name string) (jobID int64, attempt int, ok bool) {
	rest, ok := strings.CutPrefix(name, runnerPrefix)
	if !ok {
		return 0, 0, false
	}
	id, n, ok := strings.Cut(rest, "-")
	if !ok {
		return 0, 0, false
	}
	jobID, errID := strconv.ParseInt(id, 10, 64)
	attempt, errN := strconv.Atoi(n)
	if errors.Join(errID, errN) != nil || jobID < 1 || attempt < 1 || RunnerName(jobID, attempt) != name {
		return 0, 0, false
	}
	return jobID, attempt, true
}

// JobKey is the ledger's key of a job.
func JobKey(jobID int64) string { return "job." + strconv.FormatInt(jobID, 10) }

// RunnerKey is the ledger's key of a runner.
func RunnerKey(jobID int64, attempt int) string {
	return "runner." + strconv.FormatInt(jobID, 10) + "." + strconv.Itoa(attempt)
}

// RetryMsgID identifies one retry of a job, so that the same retry asked for twice is stored once. The revision is that
// of the job's ledger record which asks for the retry.
func RetryMsgID(jobID int64, revision uint64) string {
	return fmt.Sprintf("retry-%d-%d", jobID, revision)
}

// TurnMsgID identifies one turn of a job in the line for places, so that it is called once. The revision is that of the record of
// places which promises it one: it has nothing to do with those of [RetryMsgID].
func TurnMsgID(jobID int64, revision uint64) string {
	return fmt.Sprintf("turn-%d-%d", jobID, revision)
}

// ReportMsgID identifies what was found out about a job, so that the same report made twice is stored once. The action is
// that of the event which tells of it, and the revision that of the job's ledger record which was looked at.
func ReportMsgID(jobID int64, revision uint64, action jobsv1.Action) string {
	return fmt.Sprintf("report-%d-%d-%d", jobID, revision, action)
}
