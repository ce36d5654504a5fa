package demo_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestValidate(t *testing.T) {
	good := demo.Cmd{Jobs: 25, Workers: 2, Ingresses: 1}
	tests := []struct {
		name   string
		change func(*demo.Cmd)
		want   string // all of the error; empty for none
	}{
		{"the defaults are good", func(*demo.Cmd) {}, ""},
		{"a killed worker has another beside it", func(c *demo.Cmd) { c.KillWorker = true }, ""},
		{"a killed worker that is alone is started again", func(c *demo.Cmd) { c.KillWorker, c.RestartWorker, c.Workers = true, true, 1 }, ""},
		{
			"a killed worker that is alone serves nobody",
			func(c *demo.Cmd) { c.KillWorker, c.Workers = true, 1 },
			"--kill-worker: must be with a second worker or --restart-worker (got 1)",
		},
		{
			"every mistake is named",
			func(c *demo.Cmd) { *c = demo.Cmd{Fail: 1, Rate: -1, RestartWorker: true} },
			"--jobs: must be between 1 and 10000 (got 0)\n--fail: must be between 0 and the number of jobs (got 1)\n" +
				"--rate: must be 0 or more (got -1)\n--workers: must be at least 1 (got 0)\n--ingresses: must be at least 1 (got 0)\n" +
				"--restart-worker: must be with --kill-worker (got true)",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.TrimSpace(tt.want))
			}
		})
	}
}
