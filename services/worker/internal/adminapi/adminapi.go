// Package adminapi answers what an operator asks of a worker, on its admin listener: which jobs there are, why one waits,
// what was given up and why, who has places. A request can change two things: a job that was given up can be tried once more,
// and launches can be paused. No rule about jobs lives here, and no answer holds a secret: none is in the records that it is made of.
//
//	GET  /jobs                        the jobs that are not over, or with ?state=STATE those in it, newest first
//	GET  /jobs/{id}                   one job, its timeline, its runners and what it waits for
//	GET  /jobs/{id}/log               how the log of its runner's sandbox ends, in ?lines=LINES, with secrets masked
//	GET  /dead-letters                what was given up, newest first
//	GET  /dead-letters/{id}           one of them
//	POST /dead-letters/{id}/replay    has its job tried once more; twice is once
//	GET  /places                      who holds places for sandboxes, what that costs, and who waits for one
//	GET  /paused                      what is paused
//	PUT  /paused/{scope}              pauses launches of all, pool/NAME, owner/NAME or repo/OWNER/NAME, for all workers
//	DELETE /paused/{scope}            lets them go on
//
// Answers are JSON. An error is {"error": "..."}, which names the field, the rule and the value.
package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// maxListed bounds a list: nobody reads further, and what is left off is counted.
const maxListed = 500

// Ledger holds the records; see ledger.Ledger.
type Ledger interface {
	LoadRun(ctx context.Context, job int64) (run.Run, uint64, error)
	LoadRunner(ctx context.Context, name run.Name) (run.Runner, uint64, error)
	Runs(ctx context.Context) ([]ledger.Entry[run.Run], error)
}

// Queue holds the dead letters, and the events that wait for their time; see intake.Reader.
type Queue interface {
	Letters(ctx context.Context, limit int) (newest []intake.Letter, older int, err error)
	Letter(ctx context.Context, id string) (intake.Letter, error)
	Remove(ctx context.Context, letter intake.Letter) error
	NextLook(ctx context.Context, job int64) (time.Time, error)
}

// Handler does what follows from an event; see launch.Launcher.
type Handler interface {
	Handle(ctx context.Context, job int64, ev run.Event) (again time.Time, err error)
}

// Options is what an API answers from. All of it is required.
type Options struct {
	Ledger  Ledger
	Queue   Queue
	Handler Handler
	Places  Places
	Rules   places.Rules
	// Sandboxes has what runners say.
	Sandboxes Sandboxes
	// Pools are the names of all there are.
	Pools func() []string
	// Capped says what an untrusted job gets less of than its labels ask for.
	Capped func(run.Job) []string
	Log    *slog.Logger
}

// Places has the record of who may have a sandbox; see places.Book.
type Places interface {
	Read(ctx context.Context) (places.Record, uint64, error)
	Change(ctx context.Context, change func(places.Record) places.Record) (revision uint64, err error)
}

// API answers requests. It is safe for concurrent use.
type API struct{ Options }

// New makes an API.
func New(o Options) *API { return &API{Options: o} }

// Mount registers each handler under its pattern of http.ServeMux.
func (a *API) Mount(handle func(pattern string, handler http.Handler)) {
	// The listener knows no users: a page that an operator's browser shows must not act in their stead.
	protection := http.NewCrossOriginProtection()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /jobs":                      a.jobs,
		"GET /jobs/{id}":                 a.job,
		"GET /jobs/{id}/log":             a.log,
		"GET /dead-letters":              a.letters,
		"GET /dead-letters/{id}":         a.letter,
		"POST /dead-letters/{id}/replay": a.replay,
		"GET /places":                    a.room,
		"GET /paused":                    a.paused,
		"PUT /paused/{scope...}":         a.pause,
		"DELETE /paused/{scope...}":      a.resume,
	} {
		handle(pattern, protection.Handler(a.answering(answer)))
	}
}

func (a *API) answering(answer func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		body, err := answer(r)
		if err != nil {
			status, body = http.StatusServiceUnavailable, Problem{Error: err.Error()}
			if refused, ok := errors.AsType[*refusal](err); ok {
				status = refused.status
			} else {
				a.Log.LogAttrs(r.Context(), slog.LevelWarn, "question not answered", slog.String("pattern", r.Pattern), slog.Any("err", err))
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		// An error means that the client has gone; there is no one left to tell.
		_ = json.NewEncoder(w).Encode(body)
	})
}

// Problem is the answer to what could not be answered.
type Problem struct {
	Error string `json:"error"`
}

// refusal is an error that the client can do something about.
type refusal struct {
	status             int
	field, rule, value string
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %s (got %q)", r.field, r.rule, r.value) }

// jobID is the job that the request's path names.
func jobID(r *http.Request) (int64, error) {
	text := r.PathValue("id")
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, &refusal{http.StatusBadRequest, "id", "must be a job's, a positive number", text}
	}
	return id, nil
}
