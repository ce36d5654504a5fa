package adminapi_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/launch"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
	"modal-github-runner/services/worker/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canary is a JIT configuration, which must be seen nowhere.
const canary = "canary"

// outside is GitHub and Modal. Registering and creating end as the errors say.
type outside struct{ registerErr, createErr error }

func (outside) Room(context.Context, run.Job) error { return nil }

func (outside) Scope(run.Job) string { return "octo/repo" }

func (o outside) Register(context.Context, run.Runner) (int64, config.Secret, error) {
	return 77, config.NewSecret(canary), o.registerErr
}

func (outside) Deregister(context.Context, run.Runner) error { return nil }

func (outside) Inform(context.Context, run.Job, string) error { return nil }

func (o outside) Create(_ context.Context, r run.Runner, _ run.Pool, _ config.Secret) (string, error) {
	return "sb-" + wire.RunnerName(r.Name.Job, r.Name.Attempt), o.createErr
}

func (outside) Give(context.Context, string, run.Runner, config.Secret) error {
	return run.ErrNotMade
}

func (outside) Sight(context.Context, run.Job) (run.Sighting, error) {
	return run.Sighting{Status: "queued"}, nil
}

func (outside) LaunchedFor(context.Context, int64) ([]string, error) { return nil, nil }

func (outside) Busy(context.Context, run.Runner) (bool, error) { return false, nil }

func (outside) Urgent(ctx context.Context) context.Context { return ctx }

func (outside) Fate(context.Context, string, bool) (run.Fate, error) {
	return run.Fate{Running: true}, nil
}

func (outside) Find(context.Context, run.Name) (string, error)          { return "", nil }
func (outside) Ask(context.Context, string, bool) (run.Evidence, error) { return run.Idle, nil }
func (outside) Terminate(context.Context, string) error                 { return nil }
func (outside) Launched(string, string)                                 {}
func (outside) QueueToLaunch(string, time.Duration)                     {}
func (outside) QueueToStart(string, time.Duration)                      {}
func (outside) Step(string, time.Duration)                              {}
func (outside) Buried()                                                 {}

// worker is all that answers a question, over a nats-server of its own. GitHub and Modal are as outside says.
type worker struct {
	http.Handler

	js       jetstream.JetStream
	launcher func(outside) *launch.Launcher
	log      *bytes.Buffer
	began    time.Time
}

func newWorker(t *testing.T) *worker {
	t.Helper()
	at, err := url.Parse(natstest.Start(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := natsx.Connect(natsx.Config{URL: []*url.URL{at}}, natsx.Options{
		Name: "test", Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	w := &worker{log: &bytes.Buffer{}, began: time.Now()}
	if w.js, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
	if _, err := natsx.Ensure(t.Context(), w.js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	records, log := ledger.New(w.js), slog.New(slog.NewJSONHandler(w.log, nil))
	w.launcher = func(o outside) *launch.Launcher {
		return launch.New(launch.Options{
			Ledger: records, Forge: o, Authors: o, Fleet: o, Queue: intake.NewPublisher(w.js), Observer: o, Places: places.NewBook(w.js), Rules: placestest.Rules{},
			PoolOf: func(run.Job) (run.Pool, error) { return run.Pool{Name: "default", IdleLimit: 5 * time.Minute}, nil },
			Admit:  func(_ context.Context, j run.Job) (run.Job, error) { return j, nil }, Ready: func(run.Job) error { return nil }, Tracer: noop.NewTracerProvider().Tracer(""), Now: time.Now, Rand: rand.New(rand.NewPCG(1, 1)), Log: log,
		})
	}
	w.Handler = serve(adminapi.Options{Ledger: records, Queue: intake.NewReader(w.js), Handler: w.launcher(outside{}), Sandboxes: sandboxes{says: run.Idle}, Pools: noPools, Log: log})
	return w
}

// queue has the job come from GitHub, outside being as it says.
func (w *worker) queue(t *testing.T, job int64, o outside) {
	t.Helper()
	w.handle(t, job, run.Queued{Job: run.Job{ID: job, Owner: "octo", Repo: "repo", Labels: []string{"modal"}, Pool: "default"}, At: w.began}, o)
}

func (w *worker) handle(t *testing.T, job int64, ev run.Event, o outside) {
	t.Helper()
	if _, err := w.launcher(o).Handle(t.Context(), job, ev); err != nil {
		t.Fatal(err)
	}
}

// queued counts the messages that want the job looked at.
func (w *worker) queued(t *testing.T) uint64 {
	t.Helper()
	stream, err := w.js.Stream(t.Context(), wire.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// texts is the timeline without what differs from run to run.
func texts(e adminapi.Explanation) (out []string) {
	for _, m := range e.Timeline {
		text := strings.TrimSpace(m.Runner + " " + m.Text)
		if m.Event != "" {
			text += " (" + m.Event + ")"
		}
		out = append(out, text)
	}
	return out
}

var refused = outside{registerErr: &run.PermanentError{Advice: "change RUNNER_GROUP_ID", Err: errors.New("no such runner group")}}

func TestAJobThatWasGivenUpIsReplayedOnceHoweverOftenItIsAsked(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F61")
	w := newWorker(t)
	w.queue(t, 1, refused)
	w.queue(t, 2, refused)
	if _, got := ask[adminapi.Letters](t, w, http.MethodGet, "/dead-letters"); len(got.Letters) != 2 || got.Letters[0].ID != "2" || got.LeftOff != 0 {
		t.Fatalf("got %+v", got)
	}
	status, letter := ask[intake.Letter](t, w, http.MethodGet, "/dead-letters/1")
	if status != http.StatusOK || !strings.Contains(letter.Reason, "no such runner group; change RUNNER_GROUP_ID") || letter.Job.Owner != "octo" {
		t.Errorf("%d %+v", status, letter)
	}
	if got := w.queued(t); got != 0 {
		t.Errorf("%d messages before the replay", got)
	}
	for range 3 {
		status, got := ask[adminapi.Replay](t, w, http.MethodPost, "/dead-letters/1/replay")
		if want := (adminapi.Replay{ID: 1, State: run.Waiting}); status != http.StatusOK || got != want {
			t.Errorf("%d %+v", status, got)
		}
	}
	if got := w.queued(t); got != 1 {
		t.Errorf("%d messages after three replays, want 1", got)
	}
	if _, got := ask[adminapi.Letters](t, w, http.MethodGet, "/dead-letters"); len(got.Letters) != 1 || got.Letters[0].ID != "2" {
		t.Errorf("after the replay: %+v", got)
	}

	w.queue(t, 1, outside{}) // As the messages do, once the operator has mended what was wrong.
	w.queue(t, 1, outside{})
	w.handle(t, 1, run.Started{Job: run.Job{ID: 1}, Runner: run.Name{Job: 1, Attempt: 2}}, outside{})
	if status, got := ask[adminapi.Replay](t, w, http.MethodPost, "/dead-letters/1/replay"); status != http.StatusOK || got.State != run.Running {
		t.Errorf("a late replay: %d %+v", status, got)
	}
	_, told := ask[adminapi.Explanation](t, w, http.MethodGet, "/jobs/1")
	want := []string{
		"queued", "mgr-1-1 counted on, attempt 1", "given up: register runner: no such runner group; change RUNNER_GROUP_ID",
		"mgr-1-1 ended: register runner: no such runner group; change RUNNER_GROUP_ID",
		"replayed (by an operator)",
		"mgr-1-1 lost: it ended: register runner: no such runner group; change RUNNER_GROUP_ID",
		"mgr-1-2 counted on, attempt 2", "mgr-1-2 launched, sandbox sb-mgr-1-2", "mgr-1-2 running",
	}
	if diff := cmp.Diff(want, texts(told)); diff != "" {
		t.Error(diff)
	}
}

func TestAJobThatIsGivenUpAgainIsADeadLetterAgain(t *testing.T) {
	t.Parallel()
	w := newWorker(t)
	for range 2 {
		w.queue(t, 1, refused)
		w.queue(t, 1, refused)
		if _, got := ask[adminapi.Letters](t, w, http.MethodGet, "/dead-letters"); len(got.Letters) != 1 {
			t.Fatalf("got %+v", got)
		}
		if status, got := ask[adminapi.Replay](t, w, http.MethodPost, "/dead-letters/1/replay"); status != http.StatusOK || got.State != run.Waiting {
			t.Fatalf("%d %+v", status, got)
		}
	}
}

func TestAJobWhoseRunnerAnotherTookNamesTheDeliveryThatToldOfIt(t *testing.T) {
	t.Parallel()
	w := newWorker(t)
	w.queue(t, 1, outside{})
	w.queue(t, 2, outside{})
	w.handle(t, 2, run.Started{Job: run.Job{ID: 2}, Runner: run.Name{Job: 1, Attempt: 1}, Event: delivery}, outside{})
	_, told := ask[adminapi.Explanation](t, w, http.MethodGet, "/jobs/1")
	want := []string{
		"queued", "mgr-1-1 counted on, attempt 1", "mgr-1-1 launched, sandbox sb-mgr-1-1", "mgr-2-1 launched, sandbox sb-mgr-2-1",
		"mgr-1-1 lost: it took job 2 (" + delivery + ")", "mgr-2-1 counted on instead, a spare one (" + delivery + ")",
	}
	if diff := cmp.Diff(want, texts(told)); diff != "" {
		t.Error(diff)
	}
}

func TestAPageInABrowserCannotReplay(t *testing.T) {
	t.Parallel()
	handler := store{letters: []intake.Letter{{ID: "1", Job: run.Job{ID: 1}}}, runs: []run.Run{waiting()}}.handler()
	for site, want := range map[string]int{"cross-site": http.StatusForbidden, "same-origin": http.StatusOK, "": http.StatusOK} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/dead-letters/1/replay", http.NoBody)
		if site != "" {
			request.Header.Set("Sec-Fetch-Site", site)
		}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code != want {
			t.Errorf("%q: %d %s, want %d", site, recorder.Code, recorder.Body, want)
		}
	}
}

// A launch that succeeds, one that fails at Modal with the JIT configuration in hand, one that is given up, a message that
// can't be read: whatever is asked then, the answers and the log hold none of what is secret.
func TestNoAnswerHoldsASecret(t *testing.T) {
	t.Parallel()
	w := newWorker(t)
	w.queue(t, 1, outside{})
	w.queue(t, 2, outside{createErr: errors.New("no answer")})
	w.queue(t, 3, outside{createErr: &run.PermanentError{Advice: "buy more", Err: errors.New("no such machine")}})
	var answers strings.Builder
	for _, path := range []string{"/jobs", "/jobs?state=dead", "/jobs/1", "/jobs/2", "/jobs/3", "/dead-letters", "/dead-letters/3"} {
		recorder := httptest.NewRecorder()
		w.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		if recorder.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, recorder.Code, recorder.Body)
		}
		answers.WriteString(recorder.Body.String())
	}
	for _, expected := range []string{"launched, sandbox sb-mgr-1-1", "launch failed: create sandbox: no answer", "no such machine; buy more"} {
		if !strings.Contains(answers.String(), expected) {
			t.Errorf("no answer tells %q", expected)
		}
	}
	if strings.Contains(answers.String()+w.log.String(), canary) {
		t.Errorf("the secret is told:\n%s\n%s", answers.String(), w.log)
	}
}
