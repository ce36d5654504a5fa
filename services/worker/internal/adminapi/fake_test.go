package adminapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
)

// now is the time of a bubble's beginning.
var now = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// store is the ledger and the queue, kept in memory. All of it is zero unless a test says otherwise.
type store struct {
	runs    []run.Run
	runners []run.Runner
	next    time.Time
	letters []intake.Letter
	err     error // what every call returns, if not nil
	nextErr error
}

func (s store) LoadRun(_ context.Context, job int64) (run.Run, uint64, error) {
	for _, r := range s.runs {
		if r.Job.ID == job {
			return r, 1, s.err
		}
	}
	return run.Run{}, 0, s.err
}

func (s store) LoadRunner(_ context.Context, name run.Name) (run.Runner, uint64, error) {
	for _, r := range s.runners {
		if r.Name == name {
			return r, 1, nil
		}
	}
	return run.Runner{}, 0, s.nextErr
}

func (s store) Runs(context.Context) ([]ledger.Entry[run.Run], error) {
	var entries []ledger.Entry[run.Run]
	for _, r := range s.runs {
		entries = append(entries, ledger.Entry[run.Run]{Record: &r, Revision: 1})
	}
	return entries, s.err
}

func (s store) Letters(context.Context, int) ([]intake.Letter, int, error) {
	return s.letters, 3, s.err
}

func (s store) Letter(_ context.Context, id string) (intake.Letter, error) {
	for _, letter := range s.letters {
		if letter.ID == id {
			return letter, s.err
		}
	}
	if s.err != nil {
		return intake.Letter{}, s.err
	}
	return intake.Letter{}, intake.ErrNoLetter
}

func (s store) Remove(context.Context, intake.Letter) error { return s.nextErr }

func (s store) NextLook(context.Context, int64) (time.Time, error) { return s.next, s.nextErr }

// Handle stands for a launcher that changes nothing.
func (s store) Handle(context.Context, int64, run.Event) (time.Time, error) {
	return time.Time{}, s.nextErr
}

// handler is the API over s.
func (s store) handler() http.Handler {
	return serve(adminapi.Options{Ledger: s, Queue: s, Handler: s, Pools: noPools, Log: slog.New(slog.DiscardHandler)})
}

func serve(o adminapi.Options) http.Handler {
	mux := http.NewServeMux()
	adminapi.New(o).Mount(mux.Handle)
	return mux
}

// ask puts one question and decodes the answer, whose fields T must all know.
func ask[T any](t *testing.T, handler http.Handler, method, path string) (status int, answer T) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	if got := recorder.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %s: content type %q", method, path, got)
	}
	decoder := json.NewDecoder(bytes.NewReader(recorder.Body.Bytes()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); err != nil {
		t.Fatalf("%s %s: %d %s: %v", method, path, recorder.Code, recorder.Body, err)
	}
	return recorder.Code, answer
}

func noPools() []string { return nil }
