package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
)

// maxNameBytes is GitHub's limit for the name of a repository; those of accounts are shorter.
const maxNameBytes = 100

// errPayload precedes every error of decode.
var errPayload = errors.New("payload")

// payload is the part of a workflow_job webhook that we act by. Field names match without regard to case and the last of
// two equal ones counts, as encoding/json has it; the rest of the document is only checked for being JSON.
type payload struct {
	Action      string `json:"action"`
	WorkflowJob struct {
		ID           int64      `json:"id"`
		RunID        int64      `json:"run_id"`
		RunAttempt   int32      `json:"run_attempt"`
		Labels       []string   `json:"labels"`
		RunnerID     int64      `json:"runner_id"`
		RunnerName   string     `json:"runner_name"`
		Conclusion   string     `json:"conclusion"`
		CreatedAt    *time.Time `json:"created_at"`
		StartedAt    *time.Time `json:"started_at"`
		CompletedAt  *time.Time `json:"completed_at"`
		WorkflowName string     `json:"workflow_name"`
		Name         string     `json:"name"`
		HeadBranch   string     `json:"head_branch"`
		HeadSHA      string     `json:"head_sha"`
	} `json:"workflow_job"`
	Repository struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
		Private  bool   `json:"private"`
		Fork     bool   `json:"fork"`
		Owner    struct {
			Type string `json:"type"`
		} `json:"owner"`
	} `json:"repository"`
	Installation struct {
		ID int64 `json:"id"`
	} `json:"installation"`
}

// Decode reads the body of a workflow_job webhook. An action that it does not know becomes ACTION_UNSPECIFIED. It returns
// an error, naming field and rule, for what is not one JSON document in UTF-8 or breaks a limit. An absent `private` reads
// as public, which is the stricter of the two.
func Decode(body []byte) (*jobsv1.JobEvent, error) {
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("%w: must be UTF-8", errPayload)
	}
	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("%w: must be a workflow_job event in JSON: %w", errPayload, withoutInput(err))
	}
	if err := p.validate(); err != nil { // Whoever asks what became of the job looks for it by its id.
		return nil, fmt.Errorf("%w: job %d of run %d: %w", errPayload, p.WorkflowJob.ID, p.WorkflowJob.RunID, err)
	}
	return p.event(), nil
}

// withoutInput keeps pieces of the payload out of errors, which are logged.
func withoutInput(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: must be of type %s", e.Field, e.Type)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("syntax error at byte %d", e.Offset)
	}
	return errors.New("a field has a value of the wrong form")
}

func (p *payload) validate() error {
	job := &p.WorkflowJob
	ids := []struct {
		field string
		value int64
		least int64
	}{
		{"workflow_job.id", job.ID, 1},
		{"workflow_job.run_id", job.RunID, 1},
		{"workflow_job.run_attempt", int64(job.RunAttempt), 0}, // absent in older versions of GitHub Enterprise Server
		{"workflow_job.runner_id", job.RunnerID, 0},
		{"repository.id", p.Repository.ID, 1},
		{"installation.id", p.Installation.ID, 0},
	}
	var errs []error
	for _, id := range ids {
		if id.value < id.least {
			errs = append(errs, fmt.Errorf("%s: must be at least %d (got %d)", id.field, id.least, id.value))
		}
	}
	owner, name, _ := strings.Cut(p.Repository.FullName, "/")
	errs = append(errs,
		checkName("owner in repository.full_name", owner),
		checkName("name in repository.full_name", name),
		wire.CheckLabels(job.Labels),
		checkTime("workflow_job.created_at", job.CreatedAt),
		checkTime("workflow_job.started_at", job.StartedAt),
		checkTime("workflow_job.completed_at", job.CompletedAt),
	)
	return errors.Join(errs...)
}

// checkName accepts what GitHub's names of accounts and repositories are made of.
func checkName(field, name string) error {
	strange := func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("._-", r)
	}
	if name == "" || len(name) > maxNameBytes || strings.ContainsFunc(name, strange) {
		return fmt.Errorf("%s: must be 1 to %d of letters, digits and . _ - (got %d bytes)", field, maxNameBytes, len(name))
	}
	return nil
}

func checkTime(field string, t *time.Time) error {
	if t == nil || timestamppb.New(*t).IsValid() {
		return nil
	}
	return fmt.Errorf("%s: must be in the years 1 to 9999 (got %d)", field, t.Year())
}

func (p *payload) event() *jobsv1.JobEvent {
	job := &p.WorkflowJob
	owner, name, _ := strings.Cut(p.Repository.FullName, "/")
	return &jobsv1.JobEvent{
		Action:     actionOf(p.Action),
		JobId:      job.ID,
		RunId:      job.RunID,
		RunAttempt: job.RunAttempt,
		Labels:     job.Labels,
		Repository: &jobsv1.Repository{
			Id:                  p.Repository.ID,
			Owner:               owner,
			Name:                name,
			Private:             p.Repository.Private,
			Fork:                p.Repository.Fork,
			OwnedByOrganization: p.Repository.Owner.Type == "Organization",
		},
		InstallationId: p.Installation.ID,
		RunnerId:       job.RunnerID,
		RunnerName:     wire.CutText(job.RunnerName),
		Conclusion:     wire.CutText(job.Conclusion),
		CreatedAt:      timestamp(job.CreatedAt),
		StartedAt:      timestamp(job.StartedAt),
		CompletedAt:    timestamp(job.CompletedAt),
		WorkflowName:   wire.CutText(job.WorkflowName),
		JobName:        wire.CutText(job.Name),
		HeadBranch:     wire.CutText(job.HeadBranch),
		HeadSha:        wire.CutText(job.HeadSHA),
	}
}

func actionOf(action string) jobsv1.Action {
	switch action {
	case "queued":
		return jobsv1.Action_ACTION_QUEUED
	case "waiting":
		return jobsv1.Action_ACTION_WAITING
	case "in_progress":
		return jobsv1.Action_ACTION_IN_PROGRESS
	case "completed":
		return jobsv1.Action_ACTION_COMPLETED
	}
	return jobsv1.Action_ACTION_UNSPECIFIED
}

func timestamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
