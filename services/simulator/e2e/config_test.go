package e2e_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestBadConfigurationIsReportedAllAtOnce(t *testing.T) {
	covers(t, "F56")
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		program string
		env     []string
		want    []string // each on a line of its own
	}{
		{
			name: "ingress", program: "ingress",
			env: []string{
				"INGRESS_MAX_BODY=0", "INGRESS_MAX_IN_FLIGHT=many", "INGRESS_ADRR=:80", "LOG_LEVEL=loud", "NATS_URL=http://x",
				"WEBHOOK_SECRET_PREVIOUS=a", "WEBHOOK_SECRET_PREVIOUS_FILE=b",
			},
			want: []string{
				"WEBHOOK_SECRET:", "INGRESS_MAX_BODY:", "INGRESS_MAX_IN_FLIGHT:", "INGRESS_ADRR:", "LOG_LEVEL:", "NATS_URL:",
				"WEBHOOK_SECRET_PREVIOUS:",
			},
		},
		{
			name: "worker", program: "worker",
			env: []string{
				"WORKER_LAUNCHES=0", "WORKER_SOFT_STP=1s", "GITHUB_API_URL=http://github", "MODAL_SERVER_URL=https://modal/", "RUNNER_SCOPE=planet",
				"RUNNER_VERSION=newest", "MODAL_APP=a b",
			},
			want: []string{
				"WORKER_LAUNCHES:", "WORKER_SOFT_STP:", "GITHUB_API_URL:", "MODAL_SERVER_URL:", "RUNNER_SCOPE:", "RUNNER_VERSION:", "MODAL_APP:",
				"GITHUB_APP_ID:", "MODAL_TOKEN_ID:", "MODAL_TOKEN_SECRET:",
			},
		},
	}
	for _, tt := range tests {
		for _, command := range []string{"run", "check"} {
			t.Run(tt.name+" "+command, func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), filepath.Join(bin, tt.program), command)
				cmd.Env = tt.env
				var stderr strings.Builder
				cmd.Stderr = &stderr
				exit, ok := errors.AsType[*exec.ExitError](cmd.Run())
				if !ok || exit.ExitCode() != 2 {
					t.Errorf("ended with %v, want exit code 2", exit)
				}
				for _, name := range tt.want {
					if n := strings.Count("\n"+stderr.String(), "\n"+name); n != 1 {
						t.Errorf("%d lines begin with %s, want one in:\n%s", n, name, stderr.String())
					}
				}
			})
		}
	}
}
