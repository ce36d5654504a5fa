package main

import (
	"os"
	"slices"
	"testing"

	"modal-github-runner/services/internal/cli/clitest"
	"modal-github-runner/services/internal/natstest"
)

func TestMain(m *testing.M) {
	if os.Getenv(clitest.AsCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

func good(more ...string) []string {
	return slices.Concat(more, []string{"GITHUB_TOKEN=canary", "MODAL_TOKEN_ID=canary", "MODAL_TOKEN_SECRET=canary"})
}

func TestExitCodesAndOutput(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]clitest.Case{
		"version":                       {Args: []string{"version"}, Stdout: `^worker \S+ \(\S+, go1\.\S+\)\n$`, Stderr: `^$`},
		"--version":                     {Args: []string{"--version"}, Stdout: `^worker \S+ \(\S+, go1\.\S+\)\n$`, Stderr: `^$`},
		"check of a good configuration": {Args: []string{"check"}, Environ: good(), Stdout: `(?m)^GITHUB_TOKEN +\[redacted\] +env$`, Stderr: `^$`},
		"check of a bad configuration":  {Args: []string{"check"}, Environ: good("WORKER_LAUNCHES=0"), Code: 2, Stdout: `(?m)^WORKER_LAUNCHES +0 +env \(invalid\)$`, Stderr: `WORKER_LAUNCHES: must be`},
		"the table of variables":        {Args: []string{"check", "--markdown"}, Stdout: "(?m)^\\| `WORKER_LAUNCHES` \\| `32` \\|", Stderr: `^$`},
		"help":                          {Args: []string{"--help"}, Stdout: `healthcheck`, Stderr: `^$`},
		"an unknown command":            {Args: []string{"walk"}, Environ: good(), Code: 2, Stdout: `^$`, Stderr: `walk`},
		"an unknown flag":               {Args: []string{"run", "--fast"}, Environ: good(), Code: 2, Stdout: `^$`, Stderr: `fast`},
		"healthcheck of nobody":         {Args: []string{"healthcheck"}, Environ: good("WORKER_ADMIN_ADDR=127.0.0.1:1"), Code: 1, Stdout: `^$`, Stderr: `refused`},
		"explain of what is no job":     {Args: []string{"explain", "https://github.com/o/r/actions/runs/7"}, Code: 2, Stdout: `^$`, Stderr: `^<job>: must name a job, not the run .* \(got "https://github.com/o/r/actions/runs/7"\)\n$`},
		"explain, and nobody answers":   {Args: []string{"explain", "41"}, Environ: []string{"WORKER_ADMIN_ADDR=127.0.0.1:1"}, Code: 1, Stdout: `^$`, Stderr: `^ask the worker at 127.0.0.1:1: .*refused\n$`},
		"a bad configuration":           {Code: 2, Stdout: `^$`, Stderr: `(?m)^MODAL_TOKEN_ID: is required`},
		"an address that can't be ours": {Args: []string{"run"}, Environ: good("WORKER_ADMIN_ADDR=192.0.2.1:1"), Code: 1, Stderr: `WORKER_ADMIN_ADDR: `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.Run(t)
		})
	}
}

func TestImagesAreListedAndBuiltAheadWithoutAWorker(t *testing.T) {
	t.Parallel()
	environ := good("NATS_URL="+natstest.Start(t).URL(), "INSECURE_DEV=1", "GITHUB_API_URL=http://127.0.0.1:1", "MODAL_SERVER_URL=http://127.0.0.1:1")
	for _, test := range []struct { // In this order, by one NATS.
		name string
		clitest.Case
	}{
		{"nothing is built", clitest.Case{Args: []string{"images", "list"}, Environ: environ, Stdout: `^IMAGE +STATE +FOR +RUNNER +ID\ndefault +not built +- +- +-\n$`, Stderr: `^$`}},
		{"nothing can be built", clitest.Case{Args: []string{"images", "build"}, Environ: environ, Code: 1, Stdout: `^default not built: .*refused`, Stderr: `^1 of 1 images not built\n$`}},
		{"why is told", clitest.Case{Args: []string{"images", "list"}, Environ: environ, Stdout: `\ndefault +failed +\S+ +- +-\ndefault: .*refused\n$`, Stderr: `^$`}},
		{"a bad configuration", clitest.Case{Args: []string{"images", "build"}, Environ: good("WORKER_LAUNCHES=0"), Code: 2, Stdout: `^$`, Stderr: `WORKER_LAUNCHES: must be`}},
		{"what there is to be done", clitest.Case{Args: []string{"images"}, Environ: environ, Code: 2, Stdout: `^$`, Stderr: `build`}},
	} {
		t.Run(test.name, test.Run)
	}
}

func TestTheProcessWorksUntilSIGTERMAndEndsCleanly(t *testing.T) {
	t.Parallel()
	admin := clitest.FreeAddr(t)
	clitest.ServesUntilSIGTERM(t, good("WORKER_ADMIN_ADDR="+admin, "NATS_URL="+natstest.Start(t).URL(), "INSECURE_DEV=1",
		"GITHUB_API_URL=http://127.0.0.1:1", "MODAL_SERVER_URL=http://127.0.0.1:1"), admin)
}
