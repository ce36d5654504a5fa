package actionsrunner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"modal-github-runner/services/simulator/internal/actionsrunner/wire"
)

// The conclusions that a runner reports.
const (
	success   = "success"
	failure   = "failure"
	cancelled = "cancelled"
	skipped   = "skipped"
)

// The scripts that run before the steps and after them (actions/runner docs/adrs/1751).
const (
	hookStarted   = "ACTIONS_RUNNER_HOOK_JOB_STARTED"
	hookCompleted = "ACTIONS_RUNNER_HOOK_JOB_COMPLETED"
)

var errCancelled = errors.New("the job was cancelled")

// work is the job that runs.
type work struct {
	*listener
	job       wire.Job
	workspace string
	temp      string
	env       []string
	groups    []int // process groups of the steps, to end what they left running
}

// run runs the job and reports it. The job's own result is not in the exit code.
func (l *listener) run(ctx context.Context, job wire.Job) int {
	// A step dies with the thread that started it (see ownGroup), so the thread must last as long as the job.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l.say("Running job: " + job.Name)
	jobCtx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { l.watch(jobCtx, job.ID, cancel) })

	w := &work{listener: l, job: job}
	result := w.steps(jobCtx)
	w.endLeftovers()
	cancel(nil)
	wg.Wait()

	report, done := context.WithTimeout(context.WithoutCancel(ctx), l.reportLimit(ctx))
	defer done()
	if err := l.client.complete(report, job.ID, result); err != nil {
		fmt.Fprintf(l.Stderr, "Failed to complete the job: %v\n", err)
	}
	l.say(fmt.Sprintf("Job %s completed with result: %s", job.Name, map[string]string{
		success: "Succeeded", failure: "Failed", cancelled: "Canceled",
	}[result.Conclusion]))
	l.forget()
	return ExitSuccess
}

// reportLimit is short once the program was told to stop; before, a result is worth waiting for.
func (l *listener) reportLimit(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return goodbyeLimit
	}
	return 10 * time.Minute // the service gives a silent runner's job up after as long
}

// watch polls for a cancellation while the job runs; the polls are also how the service knows that the runner lives.
func (l *listener) watch(ctx context.Context, job int64, cancel context.CancelCauseFunc) {
	for ctx.Err() == nil {
		m, err := l.client.poll(ctx)
		switch {
		case refused(err, wire.CodeDeregistered):
			return // the registration was deleted below a running job, which goes on
		case err != nil:
			sleep(ctx, time.Second)
		case m != nil && m.Cancel && m.JobID == job:
			cancel(errCancelled)
			return
		}
	}
}

// steps runs the job's steps; after one that failed the others are skipped.
func (w *work) steps(ctx context.Context) wire.Result {
	out := wire.Result{Conclusion: success}
	for _, s := range w.job.Steps {
		done := wire.Step{Number: s.Number, Name: s.Name, Status: "in_progress", StartedAt: time.Now()}
		if out.Conclusion != success || ctx.Err() != nil {
			done.Status, done.Conclusion, done.CompletedAt = "completed", skipped, time.Now()
			w.report(ctx, done)
			continue
		}
		w.report(ctx, done)
		code, output, err := w.step(ctx, s)
		done.Status, done.Conclusion, done.CompletedAt, done.ExitCode, done.Output = "completed", success, time.Now(), code, output
		switch {
		case ctx.Err() != nil:
			done.Conclusion = cancelled
		case err != nil:
			done.Conclusion, done.Output = failure, output+err.Error()
			out.ExitCode = max(code, 1)
		case code != 0:
			done.Conclusion = failure
			out.ExitCode = code
		}
		out.Conclusion = done.Conclusion
		w.report(ctx, done)
	}
	if code, _, err := w.completed(ctx); out.Conclusion == success && (err != nil || code != 0) {
		out = wire.Result{Conclusion: failure, ExitCode: max(code, 1)}
	}
	if ctx.Err() != nil {
		out = wire.Result{Conclusion: cancelled}
	}
	return out
}

// completed runs the hook for it, after a cancelled job, too, unless the runner itself was told to end.
func (w *work) completed(ctx context.Context) (code int, output string, err error) {
	if w.workspace == "" || (ctx.Err() != nil && !errors.Is(context.Cause(ctx), errCancelled)) {
		return 0, "", nil
	}
	return w.hook(context.WithoutCancel(ctx), hookCompleted, len(w.job.Steps)+1)
}

func (w *work) report(ctx context.Context, s wire.Step) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeLimit)
	defer cancel()
	if err := w.client.report(ctx, w.job.ID, s); err != nil {
		fmt.Fprintf(w.Stderr, "Failed to report step %d: %v\n", s.Number, err)
	}
}

// step runs one step; the first is the runner's own preparation, with the started hook.
func (w *work) step(ctx context.Context, s wire.Step) (code int, output string, err error) {
	if s.Number > 1 {
		script := filepath.Join(w.temp, fmt.Sprintf("step-%d.sh", s.Number))
		if err := os.WriteFile(script, []byte(s.Run+"\n"), 0o600); err != nil {
			return 1, "", fmt.Errorf("write step: %w", err)
		}
		return w.shell(ctx, s.Number, script)
	}
	if err := w.prepare(); err != nil {
		return 1, "", err
	}
	return w.hook(ctx, hookStarted, s.Number)
}

// hook runs the script that the variable names, if there is one.
func (w *work) hook(ctx context.Context, variable string, number int) (code int, output string, err error) {
	hook := w.listener.env[variable]
	switch {
	case hook == "":
		return 0, "", nil
	case !filepath.IsAbs(hook) || filepath.Ext(hook) != ".sh":
		return 1, "", fmt.Errorf("%s: must be the absolute path of a .sh file (got %q)", variable, hook)
	default:
		return w.shell(ctx, number, hook)
	}
}

// prepare makes the job's folders, its event file and its environment.
func (w *work) prepare() error {
	base := filepath.Join(w.root, w.settings.WorkFolder)
	repo := w.job.Repository[strings.LastIndex(w.job.Repository, "/")+1:]
	w.workspace = filepath.Join(base, repo, repo)
	w.temp = filepath.Join(base, "_temp")
	event := filepath.Join(w.temp, "_github_workflow", "event.json")
	for _, dir := range []string{w.workspace, filepath.Dir(event), w.logs()} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the folders of a checkout are readable at the real runner, too
			return fmt.Errorf("prepare: %w", err)
		}
	}
	owner, _, _ := strings.Cut(w.job.Repository, "/")
	body, err := json.Marshal(map[string]any{
		"ref": "refs/heads/" + w.job.Branch, "after": w.job.SHA,
		"repository": map[string]any{"full_name": w.job.Repository, "name": repo, "owner": map[string]any{"login": owner}},
	})
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := os.WriteFile(event, body, 0o600); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	env := vars{}
	for name, value := range w.listener.env {
		if !strings.HasPrefix(name, inputPrefix) && name != "ACTIONS_RUNNER_ROOT" {
			env[name] = value
		}
	}
	maps.Copy(env, vars{
		"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": w.job.Repository, "GITHUB_REPOSITORY_OWNER": owner,
		"GITHUB_RUN_ID": strconv.FormatInt(w.job.RunID, 10), "GITHUB_RUN_NUMBER": strconv.Itoa(w.job.RunNumber),
		"GITHUB_RUN_ATTEMPT": strconv.Itoa(w.job.RunAttempt), "GITHUB_JOB": w.job.Name, "GITHUB_WORKFLOW": w.job.Workflow,
		"GITHUB_SHA": w.job.SHA, "GITHUB_REF": "refs/heads/" + w.job.Branch, "GITHUB_REF_NAME": w.job.Branch, "GITHUB_REF_TYPE": "branch",
		"GITHUB_EVENT_NAME": w.job.Event, "GITHUB_EVENT_PATH": event, "GITHUB_WORKSPACE": w.workspace, "GITHUB_ACTOR": "octocat",
		"GITHUB_SERVER_URL": w.job.ServerURL, "GITHUB_API_URL": w.job.APIURL, "RUNNER_NAME": w.settings.AgentName,
		"RUNNER_OS": "Linux", "RUNNER_ARCH": map[string]string{"arm64": "ARM64", "amd64": "X64"}[runtime.GOARCH],
		"RUNNER_ENVIRONMENT": "self-hosted", "RUNNER_TEMP": w.temp,
		"RUNNER_TOOL_CACHE": cmp.Or(w.listener.env["RUNNER_TOOL_CACHE"], filepath.Join(base, "_tool")),
		"RUNNER_WORKSPACE":  filepath.Join(base, repo), "RUNNER_TRACKING_ID": fmt.Sprintf("github_%d", w.job.ID),
	})
	for _, name := range slices.Sorted(maps.Keys(env)) {
		w.env = append(w.env, name+"="+env[name])
	}
	return nil
}

func (w *work) logs() string { return filepath.Join(w.root, "_diag", "pages") }
