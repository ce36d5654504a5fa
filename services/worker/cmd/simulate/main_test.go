package main

import (
	"bytes"
	"regexp"
	"testing"
)

func TestExitCodesAndOutput(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args   []string
		code   int
		stdout string // regular expressions
		stderr string
	}{
		"a story":                   {[]string{"--jobs=20"}, 0, `(?m)^simulate: 1 seed, 0 violations of invariants, 0 excused$`, `^$`},
		"two calm stories":          {[]string{"--jobs=5", "--calm", "--seeds=2", "--seed=3"}, 0, `(?s)^simulate: playing 5 jobs of seed 3\n.*seed 3: .*seed 4: .*simulate: 2 seeds, 0 violations`, `^$`},
		"a promise nobody can keep": {[]string{"--jobs=400", "--seed=3", "--surplus-limit=1s", "--no-shrink"}, 1, `(?m)^VIOLATED I5 at `, `^$`},
		"no jobs":                   {[]string{"--jobs=0"}, 2, `^$`, `^--jobs: must be at least 1 \(got 0\)\n$`},
		"every mistake at once": {
			[]string{"--jobs=-1", "--seeds=0", "--surplus-limit=0s", "--intensity=0"},
			2, `^$`,
			`^--jobs: .*\n--seeds: must be at least 1 \(got 0\)\n--surplus-limit: must be above 0s \(got 0s\)\n` +
				`--intensity: must be above 0 and at most 20, or --calm for no faults \(got 0\)\n$`,
		},
		"an intensity that is no number": {[]string{"--intensity=NaN"}, 2, `^$`, `^--intensity: .*\(got NaN\)\n$`},
		"an unknown flag":                {[]string{"--fast"}, 2, `^$`, `--fast`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(test.args, &stdout, &stderr)
			if code != test.code || !regexp.MustCompile(test.stdout).Match(stdout.Bytes()) || !regexp.MustCompile(test.stderr).Match(stderr.Bytes()) {
				t.Errorf("exit code %d\nstdout: %s\nstderr: %s", code, &stdout, &stderr)
			}
		})
	}
}
