package fleet_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// dockerImage is what an image has for Docker, where "docker version" answers once dockerd has come up. Each says in a file how it
// was called.
func dockerImage(dockerd string) map[string]string {
	note := `echo "${0##*/} $*" >>"$TMPDIR/calls"; `
	return map[string]string{
		"dockerd": note + `env >"$TMPDIR/dockerd.env"; ` + dockerd, "docker": `[ -e "$TMPDIR/up" ] && [ "$1" = version ] && echo answered`,
		"iptables-legacy": note, "sysctl": note,
		"ip": `case $* in *route*) echo "default via 172.20.0.1 dev eth0 " ;; *) echo "2: eth0    inet 172.20.0.9/16 scope global eth0" ;; esac`,
	}
}

// serving comes up as dockerd does, after a while, and stays.
const serving = `/bin/sleep 0.3; touch "$TMPDIR/up"; exec /bin/sleep 600`

func TestDockerAnswersBeforeTheRunnerStartsAndEndsWithTheSandbox(t *testing.T) {
	for name, test := range map[string]struct {
		runtime string
		calls   string
	}{
		"in a virtual machine": {"vm", "dockerd \n"},
		"in gVisor": {"gvisor", `sysctl -q -w net.ipv4.ip_forward=1
iptables-legacy -t nat -A POSTROUTING -o eth0 -p tcp -j SNAT --to-source 172.20.0.9
iptables-legacy -t nat -A POSTROUTING -o eth0 -p udp -j SNAT --to-source 172.20.0.9
dockerd --iptables=false --ip6tables=false --storage-driver=vfs
`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startSandboxWith(t, "600", hasJob+"docker version; exit 0", []string{"RUNNER_DOCKER=" + test.runtime}, dockerImage(serving))
			if code, out := p.end(t); code != 0 || out != "answered\n" {
				t.Errorf("exit code %d, it said %q; %s", code, out, p.errs)
			}
			if err := p.alive.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(p.alive); err != nil {
				t.Errorf("something outlived the sandbox: %v", err)
			}
			calls, err := os.ReadFile(filepath.Join(p.tmp, "calls"))
			if err != nil || string(calls) != test.calls {
				t.Errorf("got the calls %s, %v, want %s", calls, err, test.calls)
			}
			env, err := os.ReadFile(filepath.Join(p.tmp, "dockerd.env"))
			if err != nil || !strings.Contains(string(env), "TMPDIR=") || strings.Contains(string(env), canary) {
				t.Errorf("dockerd has the variables %s, %v", env, err)
			}
		})
	}
}

func TestASandboxWhoseDockerDoesNotComeUpEndsWithoutARunner(t *testing.T) {
	for name, test := range map[string]struct {
		runtime, dockerd string
		without          string
		want             string
	}{
		"dockerd ends":             {"vm", "echo no kernel for it >&2; exit 1", "", "docker: dockerd did not answer within 2 s: no kernel for it\n"},
		"dockerd does not answer":  {"vm", "echo waiting; exec /bin/sleep 600", "", "docker: dockerd did not answer within 2 s: waiting\n"},
		"there is no dockerd":      {"vm", "", "dockerd", "dockerd: command not found\n"},
		"gVisor refuses a network": {"gvisor", serving, "sysctl", "docker: containers can't have a network: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := dockerImage(test.dockerd)
			if test.without != "" {
				image[test.without] = `echo "line 1: $0: command not found" >&2; exit 127`
			}
			p := startSandboxWith(t, "600", "echo ready", []string{"RUNNER_DOCKER=" + test.runtime, "RUNNER_DOCKER_SECONDS=2"}, image)
			if code, out := p.end(t); code != 69 || out != "" {
				t.Errorf("exit code %d, it said %q, want 69 and no runner", code, out)
			}
			if said := p.errs.String(); !strings.Contains(said, test.want) || strings.Count(said, "\n") != 1 {
				t.Errorf("got %q, want one line with %q", said, test.want)
			}
		})
	}
}

func TestAJobIsToldHowToAskForDocker(t *testing.T) {
	t.Parallel()
	p := startSandbox(t, "600", hasJob+"docker build . 2>&1; exit $?")
	want := "docker: not in this sandbox. Ask for it by the label docker in runs-on, which the job's pool must allow (max: {docker: true})," +
		" or use a pool that has docker: true\n"
	if code, out := p.end(t); code != 127 || out != want {
		t.Errorf("exit code %d, it said %q, want %q", code, out, want)
	}
}
