package fakemodal_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
)

func TestGPUSandboxGoesOverV1(t *testing.T) {
	r := newRig(t, fakemodal.Options{SchedulingLatency: 50 * time.Millisecond})
	s := r.create(t, modal.SandboxCreateParams{
		Name: "gpu", GPU: "H100:2", Env: map[string]string{"A": "b"}, Tags: map[string]string{"job": "1"},
		Command: sh("echo out $A; echo err >&2; sleep 600"),
	})
	rec := r.record(t, s.SandboxID)
	if rec.Backend != sandbox.V1 || rec.GPU != "H100" || rec.GPUs != 2 {
		t.Errorf("record %+v", rec)
	}
	found, err := r.client.Sandboxes.FromName(r.context(t), "runners", "gpu", nil)
	if err != nil || found.SandboxID != s.SandboxID {
		t.Errorf("from name: %v, %v", found, err)
	}
	if got := r.list(t, map[string]string{"job": "1"}); !slices.Equal(got, []string{s.SandboxID}) {
		t.Errorf("list: %v, want %s", got, s.SandboxID)
	}
	if err := s.SetTags(r.context(t), map[string]string{"job": "2"}, nil); err != nil {
		t.Errorf("set tags: %v", err)
	}
	if tags, err := s.GetTags(r.context(t), nil); err != nil || tags["job"] != "2" {
		t.Errorf("tags %v, %v", tags, err)
	}
	for job, want := range map[string][]string{"1": nil, "2": {s.SandboxID}} {
		if got := r.list(t, map[string]string{"job": job}); !slices.Equal(got, want) {
			t.Errorf("list of job %s: %v, want %v", job, got, want)
		}
	}
	p, err := s.Exec(r.context(t), sh("echo exec $A $GIVEN"), &modal.SandboxExecParams{Env: map[string]string{"GIVEN": "s3cret"}})
	if err != nil {
		t.Fatalf("exec: %v", err)
	}
	if got := read(t, p.Stdout); got != "exec b s3cret\n" {
		t.Errorf("stdout of exec %q", got)
	}
	if strings.Contains(fmt.Sprintf("%+v", r.Snapshot()), "s3cret") {
		t.Error("the snapshot shows the value of a variable of a command")
	}
	eventually(t, "output", func() bool { return tail(t, r, s) == "out b\nerr\n" || tail(t, r, s) == "err\nout b\n" })
	if code, err := s.Poll(r.context(t), nil); err != nil || code != nil {
		t.Errorf("poll while it runs: %v, %v", code, err)
	}
	if code, err := s.Terminate(r.context(t), &modal.SandboxTerminateParams{Wait: true}); err != nil || code != 137 {
		t.Errorf("terminate: %d, %v; want 137", code, err)
	}
	if got := read(t, s.Stdout); got != "out b\n" {
		t.Errorf("stdout %q", got)
	}
	if got := read(t, s.Stderr); got != "err\n" {
		t.Errorf("stderr %q", got)
	}
}

// tail returns what Logs.Tail yields, joined.
func tail(t *testing.T, r *rig, s *modal.Sandbox) string {
	t.Helper()
	entries, err := s.Logs.Tail(r.context(t), nil)
	if err != nil {
		t.Fatalf("tail: %v", err)
	}
	var out strings.Builder
	for e, err := range entries {
		if err != nil {
			t.Fatalf("tail: %v", err)
		}
		out.WriteString(e.Message)
	}
	return out.String()
}
