package actionsrunner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modal-github-runner/services/simulator/internal/actionsrunner/wire"
)

const (
	returnDeprecated = "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE"
	// A session that somebody else holds is asked for again for four minutes (BrokerMessageListener.cs).
	conflictRetry = 30 * time.Second
	conflictLimit = 4 * time.Minute
	// goodbyeLimit bounds what is said to the service after a signal. With the ten seconds that steps get to stop it
	// stays within the 30 s that the real runner gives itself after SIGTERM.
	goodbyeLimit = 15 * time.Second
)

var errSignalled = errors.New("told to stop")

// listener is the runner between its start and its one job.
type listener struct {
	Program
	env      vars
	root     string
	settings wire.Settings
	client   *client
}

// listen writes the configuration, connects, and runs one job. The exit code is the real listener's.
func (p Program) listen(ctx context.Context, env vars, o options) int {
	l := &listener{Program: p, env: env}
	key, err := l.configure(o.jit)
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return ExitTerminated
	}
	ctx, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop(nil)
	wg.Go(func() {
		select {
		case <-p.Signals:
			stop(errSignalled)
		case <-ctx.Done():
		}
	})
	l.client = newClient(l.settings.ServerURL)
	defer l.client.http.CloseIdleConnections()
	if code, connected := l.connect(ctx, key); !connected {
		return code
	}
	l.printf("\n√ Connected to GitHub\n")
	l.printf("Current runner version: '%s'", env.version())
	l.say("Listening for Jobs")
	return l.wait(ctx)
}

// configure unpacks the JIT configuration into the runner's folder, as the real runner does, and reads it back.
func (l *listener) configure(jit string) (wire.Key, error) {
	var key wire.Key
	l.root = l.env["ACTIONS_RUNNER_ROOT"]
	if l.root == "" {
		dir, err := os.Getwd()
		if err != nil {
			return key, fmt.Errorf("runner folder: %w", err)
		}
		l.root = dir
	}
	files, err := wire.DecodeJIT(jit)
	if err != nil {
		return key, err
	}
	for name, content := range files {
		if !filepath.IsLocal(name) || filepath.Base(name) != name {
			return key, fmt.Errorf("JIT configuration: must hold plain file names (got %q)", name)
		}
		if err := os.WriteFile(filepath.Join(l.root, name), content, 0o600); err != nil {
			return key, fmt.Errorf("write configuration: %w", err)
		}
	}
	if err := json.Unmarshal(files[wire.SettingsFile], &l.settings); err != nil {
		return key, fmt.Errorf("JIT configuration: %s must be JSON", wire.SettingsFile)
	}
	if err := json.Unmarshal(files[wire.KeyFile], &key); err != nil {
		return key, fmt.Errorf("JIT configuration: %s must be JSON", wire.KeyFile)
	}
	return key, nil
}

// connect opens the session. Without one, code is how the program ends.
func (l *listener) connect(ctx context.Context, key wire.Key) (code int, connected bool) {
	in := wire.ConnectRequest{AgentID: l.settings.AgentID, Secret: key.D, Version: l.env.version(), OS: "Linux"}
	started := time.Now()
	for {
		err := l.client.connect(ctx, in)
		switch {
		case err == nil:
			return 0, true
		case ctx.Err() != nil:
			l.printf("Exiting...")
			return ExitSuccess, false
		case refused(err, wire.CodeConflict):
			l.say("A session for this runner already exists.")
			if time.Since(started) >= conflictLimit {
				l.say("Stop retry on SessionConflictException after retried for 240 seconds.")
				return ExitConflict, false
			}
			sleep(ctx, conflictRetry)
		case refused(err, wire.CodeDeprecated):
			fmt.Fprintf(l.Stderr, "An error occurred: Runner version v%s is deprecated and cannot receive messages.\n", l.env.version())
			if l.env.truthy(returnDeprecated) {
				return ExitDeprecated, false
			}
			return ExitTerminated, false
		case refused(err, wire.CodeDeregistered):
			fmt.Fprintln(l.Stderr, "Failed to create a session. The runner registration has been deleted from the server, please re-configure. "+
				"Runner registrations are automatically deleted for runners that have not connected to the service recently.")
			return ExitTerminated, false
		default:
			fmt.Fprintf(l.Stderr, "Failed to create a session. %v\n", err)
			return ExitTerminated, false
		}
	}
}

// wait polls until a job was run, the registration is gone, or the program is told to stop.
func (l *listener) wait(ctx context.Context) int {
	for {
		m, err := l.client.poll(ctx)
		switch {
		case ctx.Err() != nil:
			l.printf("Exiting...")
			l.goodbye(ctx)
			return ExitSuccess
		case refused(err, wire.CodeDeregistered):
			l.say("The runner no longer exists on the server.")
			return ExitSuccess
		case err != nil:
			l.say("Runner connect error: " + err.Error() + ". Retrying until reconnected.")
			sleep(ctx, time.Second)
		case m == nil || m.Cancel:
		default:
			job, err := l.client.acquire(ctx, m.JobID)
			if err != nil {
				continue // the real runner listens on, too, when the job is not its own any more
			}
			return l.run(ctx, job)
		}
	}
}

// goodbye ends the session; the registration stays, as with the real runner.
func (l *listener) goodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeLimit)
	defer cancel()
	if err := l.client.disconnect(ctx); err != nil {
		fmt.Fprintf(l.Stderr, "Failed to delete the session: %v\n", err)
	}
}

// forget removes the configuration after the only job of an ephemeral runner.
func (l *listener) forget() {
	for _, name := range []string{wire.CredentialsFile, wire.KeyFile, wire.SettingsFile} {
		if err := os.Remove(filepath.Join(l.root, name)); err != nil {
			fmt.Fprintln(l.Stderr, err)
			continue
		}
		l.printf("√ Removed %s", name)
	}
}

func (l *listener) printf(format string, args ...any) { fmt.Fprintf(l.Stdout, format+"\n", args...) }

// say prints with the real runner's time stamp.
func (l *listener) say(message string) {
	l.printf("%s: %s", time.Now().UTC().Format("2006-01-02 15:04:05Z"), message)
}
