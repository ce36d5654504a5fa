package fakemodal_test

import (
	"errors"
	"testing"

	modal "github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
)

func TestLimits(t *testing.T) {
	sleep := modal.SandboxCreateParams{Command: []string{"sleep", "600"}}
	gpu := modal.SandboxCreateParams{Command: []string{"sleep", "600"}, GPU: "T4"}
	for _, tt := range []struct {
		name   string
		limits sandbox.Limits
		params modal.SandboxCreateParams
		want   string
	}{
		{"of concurrent sandboxes", sandbox.Limits{MaxSandboxes: 2}, sleep, "the limit of concurrent sandboxes is reached (2)"},
		{"of creations a second", sandbox.Limits{CreatesPerSecondV2: 0.001}, sleep, "Sandbox creation rate limit (0.001/s) exceeded"},
		{"of creations a second of GPU sandboxes", sandbox.Limits{CreatesPerSecondV1: 0.001}, gpu, "Sandbox creation rate limit (0.001/s) exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, fakemodal.Options{Limits: tt.limits})
			r.create(t, tt.params)
			var err error
			for range 2 { // the limit is reached by the first or the second sandbox
				if _, err = r.client.Sandboxes.Create(r.context(t), r.app, r.image, &tt.params); err != nil {
					break
				}
			}
			if status.Code(err) != codes.ResourceExhausted || status.Convert(err).Message() != tt.want {
				t.Errorf("error %v, want RESOURCE_EXHAUSTED %q", err, tt.want)
			}
			if errors.As(err, &modal.ResourceExhaustedError{}) {
				t.Error("the SDK wraps the error, which it does not do for Modal's")
			}
			if err := r.SetLimits(sandbox.Limits{}); err != nil {
				t.Fatalf("set limits: %v", err)
			}
			r.create(t, tt.params)
		})
	}
}
