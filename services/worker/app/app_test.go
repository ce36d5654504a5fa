package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/logtest"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/obs"
	"modal-github-runner/services/worker/app"
)

// nobody listens on this port.
const nobody = "127.0.0.1:1"

func TestMain(m *testing.M) {
	// Modal's SDK reads these itself: nothing of the developer's is to be used, and Modal does not answer.
	for name, value := range map[string]string{"MODAL_SERVER_URL": "http://" + nobody, "MODAL_CONFIG_PATH": os.DevNull} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// instance is one running worker.
type instance struct {
	*app.App

	log  *logtest.Buffer
	stop func() error // as SIGTERM does; waits for the end
}

func start(t *testing.T, environ ...string) *instance {
	t.Helper()
	cfg, _, err := app.LoadConfig(good(append(environ, "INSECURE_DEV=1", "WORKER_ADMIN_ADDR=127.0.0.1:0", "LOG_FORMAT=json")...))
	if err != nil {
		t.Fatal(err)
	}
	log := &logtest.Buffer{}
	a, err := app.New(t.Context(), app.Options{Config: cfg, Logger: obs.NewLogger(log, cfg.Log, obs.ThisService("worker"))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	i := &instance{App: a, log: log, stop: sync.OnceValue(func() error {
		cancel()
		return <-ended
	})}
	t.Cleanup(func() {
		if err := i.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if strings.Contains(log.String(), "canary") {
			t.Errorf("a secret in the log:\n%s", log)
		}
		if t.Failed() {
			t.Logf("log:\n%s", log)
		}
	})
	return i
}

// get asks the admin listener; the status is 0 if nobody answers.
func (i *instance) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+i.Addr().String()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return 0, ""
	}
	raw, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}

func (i *instance) ready(t *testing.T) bool {
	t.Helper()
	status, _ := i.get(t, "/readyz")
	return status == http.StatusOK
}

// within checks that f ends in time.
func within(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	began := time.Now()
	if err := f(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > limit {
		t.Errorf("took %v, want at most %v", took, limit)
	}
}

func TestAWorkerWithoutNATSIsAliveButNotReadyAndStopsAtOnce(t *testing.T) {
	t.Parallel()
	i := start(t, "NATS_URL=nats://"+nobody, "GITHUB_API_URL=http://"+nobody)
	if status, body := i.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
	status, body := i.get(t, "/readyz")
	var answer struct {
		Status string
		Checks map[string]string
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusServiceUnavailable ||
		answer.Checks["nats"] != "not connected to NATS at nats://"+nobody || answer.Checks["topology"] == "" || answer.Checks["topology"] == "ok" {
		t.Errorf("/readyz: %d %s, %v", status, body, err)
	}
	if status, body := i.get(t, "/metrics"); status != http.StatusOK || !strings.Contains(body, "\nnats_connected 0\n") ||
		!strings.Contains(body, "\nworker_build_info{") {
		t.Errorf("/metrics: %d %s", status, body)
	}
	within(t, 20*time.Second, i.stop)
	if status, _ := i.get(t, "/healthz"); status != 0 {
		t.Errorf("after the stop somebody answers: %d", status)
	}
}

func TestAWorkerIsReadyOnceNATSIsAndWhileItIs(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	server.Stop()
	i := start(t, "NATS_URL="+server.URL(), "GITHUB_API_URL=http://"+nobody)
	if i.ready(t) {
		t.Error("ready without NATS")
	}
	server.Restart(t)
	poll(t, func() bool { return i.ready(t) })
	server.Stop()
	poll(t, func() bool { return !i.ready(t) })
	server.Restart(t)
	poll(t, func() bool { return i.ready(t) })
	within(t, 20*time.Second, i.stop)
}

// hangingGitHub never answers what a launch asks first: whether the job still waits. It tells of each such question when it comes.
func hangingGitHub(t *testing.T) (url string, asked <-chan struct{}) {
	t.Helper()
	came := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/actions/jobs/7") {
			onlyRuns(w, r)
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil { // Only then the server notices that the client has gone.
			return
		}
		came <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	return server.URL, came
}

// onlyRuns is a GitHub that tells of workflow runs, all of which are of their own private repository, and of nothing else.
func onlyRuns(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/actions/runs/") {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, `{"event": "push", "repository": {"id": 5, "private": true}, "head_repository": {"id": 5}}`)
}

func TestALaunchThatIsInHandAtAHardStopIsAnotherWorkers(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	github, asked := hangingGitHub(t)
	environ := []string{"NATS_URL=" + server.URL(), "GITHUB_API_URL=" + github, "WORKER_SOFT_STOP=100ms"}
	first := start(t, environ...)
	poll(t, func() bool { return first.ready(t) })
	publish(t, server, &jobsv1.JobEvent{
		Action: jobsv1.Action_ACTION_QUEUED, JobId: 7, Pool: wire.DefaultPool, Labels: []string{"modal"}, ReceivedAt: timestamppb.Now(),
		Repository: &jobsv1.Repository{Owner: "octo", Name: "repo", Private: true},
	})
	await(t, asked)
	within(t, 20*time.Second, first.stop)
	if !strings.Contains(first.log.String(), `"msg":"worker stopped"`) {
		t.Error("it did not say that it stopped")
	}
	start(t, environ...)
	await(t, asked)
}

func TestAnAdminAddressThatIsTakenIsAnError(t *testing.T) {
	t.Parallel()
	i := start(t, "NATS_URL=nats://"+nobody, "GITHUB_API_URL=http://"+nobody)
	cfg, _, err := app.LoadConfig(good("NATS_URL=nats://"+nobody, "WORKER_ADMIN_ADDR="+i.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	_, err = app.New(t.Context(), app.Options{Config: cfg, Logger: obs.NewLogger(io.Discard, cfg.Log, obs.Service{})})
	if err == nil || !strings.HasPrefix(err.Error(), "WORKER_ADMIN_ADDR: ") || errors.Is(err, cli.ErrConfig) {
		t.Errorf("got %v", err)
	}
}

func publish(t *testing.T, server *natstest.Server, ev *jobsv1.JobEvent) {
	t.Helper()
	js := server.JetStream(t)
	subject, err := wire.Subject(ev)
	if err != nil {
		t.Fatal(err)
	}
	data, err := wire.Encode(ev)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: data, Header: nats.Header{wire.HeaderSchema: {"1"}}}); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatal("did not happen within a minute")
	}
}

func poll(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("did not happen within a minute")
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
