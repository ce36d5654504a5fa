package fakedocker_test

import (
	"bytes"
	"testing"

	"modal-github-runner/services/simulator/internal/fakedocker"
	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

func TestDockerRunsWhereModalWouldLetItAndNowhereElse(t *testing.T) {
	bin := t.TempDir()
	if err := fakedocker.Write(bin); err != nil {
		t.Fatal(err)
	}
	const withEngine = "dockerd & until docker version >/dev/null 2>&1; do kill -0 $! || exit 9; done; "
	for name, test := range map[string]struct {
		allowed bool
		script  string
		code    int
		out     string
	}{
		"a client with an engine":    {true, withEngine + "docker version", 0, "Server: Docker Engine, simulated\n"},
		"a container":                {true, withEngine + "docker run --rm -i alpine echo hello", 0, "hello\n"},
		"a container that fails":     {true, withEngine + "docker run alpine sh -c 'exit 4'", 4, ""},
		"what is not simulated":      {true, withEngine + "docker swarm 2>&1", 1, "docker swarm: not simulated\n"},
		"a client without an engine": {true, "docker version 2>&1", 1, "Cannot connect to the Docker daemon\n"},
		"an engine that may not":     {false, "dockerd 2>&1", 1, "dockerd: operation not permitted\n"},
		"its network":                {true, "iptables-legacy -t nat -A POSTROUTING -o eth0 -p tcp -j SNAT --to-source 172.20.0.9", 0, ""},
		"a network that may not be":  {false, "sysctl -q -w net.ipv4.ip_forward=1 2>&1", 1, "sysctl: operation not permitted\n"},
		"another's network":          {true, "ip link 2>&1", 1, "ip link: not simulated\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := machine.Local{Root: t.TempDir(), Env: map[string]string{"PATH": bin + ":" + machine.DefaultPath}}.Open("sb-" + t.Name())
			if err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			code, err := m.Main(t.Context(), machine.Program{Args: []string{"sh", "-c", test.script}, Docker: test.allowed, Stdout: &out, Stderr: &errs})
			if err != nil || code != test.code || out.String() != test.out {
				t.Errorf("exit code %d, %v, it said %q, want %d and %q; %s", code, err, out.String(), test.code, test.out, errs.String())
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
