package fakemodal_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal"
)

func TestLogs(t *testing.T) {
	r := newRig(t, fakemodal.Options{})
	began := time.Now()
	s := r.create(t, modal.SandboxCreateParams{Command: sh(`for i in 1 2 3; do echo out $i; done; echo err >&2; printf '\377'`)})
	r.wait(t, s)
	for _, tt := range []struct {
		name string
		read func() (func(func(modal.LogEntry, error) bool), error)
		want []string // in any order between the streams
	}{
		{name: "the tail is all if there is less", want: []string{"out 1\n", "out 2\n", "out 3\n", "err\n", "\uFFFD"}, read: func() (func(func(modal.LogEntry, error) bool), error) {
			return s.Logs.Tail(r.context(t), nil)
		}},
		{name: "the tail of one stream is the newest of it", want: []string{"out 3\n", "\uFFFD"}, read: func() (func(func(modal.LogEntry, error) bool), error) {
			return s.Logs.Tail(r.context(t), &modal.LogTailParams{Entries: 2, Source: modal.LogSourceStdout})
		}},
		{name: "all since the beginning are fetched", want: []string{"out 1\n", "out 2\n", "out 3\n", "err\n", "\uFFFD"}, read: func() (func(func(modal.LogEntry, error) bool), error) {
			return s.Logs.Fetch(r.context(t), began, nil)
		}},
		{name: "one stream is fetched", want: []string{"err\n"}, read: func() (func(func(modal.LogEntry, error) bool), error) {
			return s.Logs.Fetch(r.context(t), began, &modal.SandboxLogFetchParams{Source: modal.LogSourceStderr})
		}},
		{name: "text is searched", want: []string{"out 2\n"}, read: func() (func(func(modal.LogEntry, error) bool), error) {
			return s.Logs.Fetch(r.context(t), began, &modal.SandboxLogFetchParams{SearchText: "ut 2"})
		}},
		{name: "nothing is from before the beginning", read: func() (func(func(modal.LogEntry, error) bool), error) {
			return s.Logs.Fetch(r.context(t), began.Add(-time.Hour), &modal.SandboxLogFetchParams{Until: &began})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entries, err := tt.read()
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			left := strings.Join(tt.want, "|") + "|"
			for e, err := range entries {
				if err != nil {
					t.Fatalf("read: %v", err)
				}
				if !strings.Contains(left, e.Message+"|") {
					t.Errorf("unexpected entry %q", e.Message)
				}
				left = strings.Replace(left, e.Message+"|", "", 1)
			}
			if left != "" && left != "|" {
				t.Errorf("missing entries %q", left)
			}
		})
	}
}

func TestOnlyRecentOutputIsKept(t *testing.T) {
	r := newRig(t, fakemodal.Options{OutputLimit: 10_000})
	s := r.create(t, modal.SandboxCreateParams{Command: sh(`i=0; while [ $i -lt 1000 ]; do echo "line $i"; i=$((i+1)); done`)})
	r.wait(t, s)
	got := read(t, s.Stdout)
	if len(got) > 10_000 || !strings.HasSuffix(got, "line 998\nline 999\n") || strings.HasPrefix(got, "line 0\n") {
		t.Errorf("%d bytes are kept, from %.20q on", len(got), got)
	}
}

func TestExec(t *testing.T) {
	r := newRig(t, fakemodal.Options{ImageEnv: map[string]string{"A": "image", "B": "image"}})
	s := r.create(t, modal.SandboxCreateParams{Env: map[string]string{"B": "sandbox", "C": "sandbox"}, Command: []string{"sleep", "600"}})
	for _, tt := range []struct {
		name           string
		command        []string
		params         *modal.SandboxExecParams
		stdout, stderr string
		code           int
	}{
		{name: "variables are added", command: sh("echo $A $B $C"), params: &modal.SandboxExecParams{Env: map[string]string{"C": "exec"}}, stdout: "image sandbox exec\n"},
		{name: "both outputs and the exit code are passed on", command: sh("echo out; echo err >&2; exit 9"), stdout: "out\n", stderr: "err\n", code: 9},
		{name: "a working directory is used", command: sh(`[ "$(pwd -P)" = "$HOME/a/b" ] && echo there`), params: &modal.SandboxExecParams{Workdir: "/a/b"}, stdout: "there\n"},
		{name: "an output may be ignored", command: sh("echo out; echo err >&2"), params: &modal.SandboxExecParams{Stdout: modal.Ignore}, stderr: "err\n"},
		{name: "an unknown program is 127", command: []string{"no-such-program"}, stderr: "program \"no-such-program\": executable file not found in $PATH\n", code: 127},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := s.Exec(r.context(t), tt.command, tt.params)
			if err != nil {
				t.Fatalf("exec: %v", err)
			}
			code, err := p.Wait(r.context(t), nil)
			if err != nil || code != tt.code {
				t.Errorf("exit code %d, %v; want %d", code, err, tt.code)
			}
			if got := read(t, p.Stdout); got != tt.stdout {
				t.Errorf("stdout %q, want %q", got, tt.stdout)
			}
			if got := read(t, p.Stderr); got != tt.stderr {
				t.Errorf("stderr %q, want %q", got, tt.stderr)
			}
		})
	}
	left, err := s.Exec(r.context(t), []string{"sleep", "600"}, nil)
	if err != nil {
		t.Fatalf("exec: %v", err)
	}
	if _, err := s.Terminate(r.context(t), &modal.SandboxTerminateParams{Wait: true}); err != nil {
		t.Fatalf("terminate: %v", err)
	}
	if code, err := left.Wait(r.context(t), nil); err != nil || code != 137 {
		t.Errorf("command of a terminated sandbox: %d, %v; want 137", code, err)
	}
	if _, err := s.Exec(r.context(t), []string{"true"}, nil); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("exec after the end: %v, want FAILED_PRECONDITION", err)
	}
}

func TestUnknownSandboxes(t *testing.T) {
	r := newRig(t, fakemodal.Options{})
	const unknownV1, unknownV2 = "sb-0123456789ABCDEFGHIJKL", "sb-01ABCDEFGHJKMNPQRSTVWXYZ01"
	for _, id := range []string{unknownV1, unknownV2} {
		s, err := r.client.Sandboxes.FromID(t.Context(), id, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, poll := s.Poll(r.context(t), nil)
		_, terminate := s.Terminate(r.context(t), nil)
		_, tags := s.GetTags(r.context(t), nil)
		_, exec := s.Exec(r.context(t), []string{"true"}, nil)
		for what, err := range map[string]error{"poll": poll, "terminate": terminate, "tags": tags, "exec": exec, "set tags": s.SetTags(r.context(t), nil, nil)} {
			if status.Code(err) != codes.NotFound || errors.As(err, &modal.NotFoundError{}) {
				t.Errorf("%s of %s: %v, want a raw NOT_FOUND", what, id, err)
			}
		}
	}
}
