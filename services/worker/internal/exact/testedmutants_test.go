package exact_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/internal/faultstest"
)

// testedMutant is a line of the services, broken on purpose, that shows in no story of the exact simulator: it is about processes, or it
// guards what only a mistake elsewhere could bring about. The test that catches it is one of make test.
type testedMutant struct {
	name, invariant string
	file            string // below services
	old, new        string
	pkg, test       string // below services
}

// I5: no sandbox is ended while it works. I10 is honest health: ready means that the service could work now, and being alive depends on nobody else. I11 is a clean exit:
// at SIGTERM nothing new is begun, and what is in hand is brought to its end or given back.
func testedMutants() []testedMutant {
	return []testedMutant{
		{
			name: "a name stands for one runner for ever", invariant: "I5", file: "worker/internal/run/types.go",
			old: "return githubID != 0 && r.GitHubID != 0 && githubID != r.GitHubID", new: "return false",
			pkg: "worker/internal/launch", test: "TestTheEndOfAnEarlierRunnersJobEndsNoLaterRunner",
		},
		{
			name: "a warm sandbox is ended whoever has it by now", invariant: "I5", file: "worker/internal/sweep/warmend.go",
			old: "case err == nil && (evidence == run.Idle || evidence == run.HasJob):", new: "case false:",
			pkg: "worker/internal/sweep", test: "TestHowAWarmSandboxEnds",
		},
		{
			name: "what a service can't do keeps it from nothing", invariant: "I10", file: "internal/obs/admin.go",
			old: `status, answer.Status = http.StatusServiceUnavailable, "not ready"`, new: `answer.Status = "not ready"`,
			pkg: "worker/app", test: "TestAWorkerWithoutNATSIsAliveButNotReadyAndStopsAtOnce",
		},
		{
			name: "a worker without NATS is taken for dead", invariant: "I10", file: "internal/obs/admin.go",
			old: "_ *http.Request) {\n\twriteJSON(w, http.StatusOK, readiness{Status: \"ok\"})", new: "r *http.Request) {\n\ta.readyz(w, r)",
			pkg: "worker/app", test: "TestAWorkerWithoutNATSIsAliveButNotReadyAndStopsAtOnce",
		},
		{
			name: "ingress is ready though NATS is gone", invariant: "I10", file: "ingress/app/app.go",
			old: `{Name: "nats", Run: natsx.Connected(conn)},`, new: "",
			pkg: "ingress/app", test: "TestIngressStartsAndRecoversWithoutNATS",
		},
		{
			name: "who is about to stop says that he is ready", invariant: "I10", file: "internal/obs/admin.go",
			old: "if a.draining.Load() {", new: "if a.draining.Load() && false {",
			pkg: "internal/obs", test: "TestReadinessNamesEachCheckAndFailsFirstWhenDraining",
		},
		{
			name: "ingress cuts the requests that it has in hand", invariant: "I11", file: "ingress/app/run.go",
			old: "err := a.server.Shutdown(ctx)", new: "err := a.server.Close()",
			pkg: "ingress/app", test: "TestAStopUnderLoadLosesNothingThatWasAccepted",
		},
		{
			name: "a worker goes on pulling", invariant: "I11", file: "worker/internal/intake/intake.go",
			old: "for pulling.Err() == nil {\n\t\tbatch", new: "for working.Err() == nil {\n\t\tbatch",
			pkg: "worker/internal/intake", test: "TestASoftStopEndsPullingAndLetsWhatIsInHandComeToItsEnd",
		},
		{
			name: "a worker does not wait for what it has in hand", invariant: "I11", file: "worker/internal/intake/intake.go",
			old: "\tdefer inHand.Wait()\n", new: "",
			pkg: "worker/internal/intake", test: "TestASoftStopEndsPullingAndLetsWhatIsInHandComeToItsEnd",
		},
		{
			name: "a worker keeps what it has not finished", invariant: "I11", file: "worker/internal/intake/judge.go",
			old: "i.tell(ctx, \"nak\", func() error { return msg.NakWithDelay(pause) })\n\t\treturn verdictRetry\n\t}\n\tbegan",
			new: "return verdictRetry\n\t}\n\tbegan",
			pkg: "worker/internal/intake", test: "TestAHardStopGivesWhatIsInHandToAnotherWorker",
		},
	}
}

func TestMutantsThatNoStoryShowsAreCaughtByTests(t *testing.T) {
	if testing.Short() {
		t.Skip("builds other packages' tests a dozen times: run without -short, as make mutants does")
	}
	for _, m := range testedMutants() {
		t.Run(m.name, func(t *testing.T) {
			overlay := breakLine(t, filepath.Join("..", "..", "..", filepath.FromSlash(m.file)), m.old, m.new)
			if out, err := m.play(t, "-count=1"); err != nil {
				t.Fatalf("the test fails without the mutant, too: %v\n%s", err, out)
			}
			began := time.Now()
			const tries = 5 // Whether a request is in hand at the moment of the stop is a matter of chance.
			for range tries {
				out, err := m.play(t, "-count=1", "-overlay", overlay)
				if err != nil && strings.Contains(out, "--- FAIL: "+m.test) {
					t.Logf("caught as %s by %s after %v", m.invariant, m.test, time.Since(began).Truncate(time.Millisecond))
					return
				}
				if err != nil {
					t.Fatalf("it fails otherwise: %v\n%.2000s", err, out)
				}
			}
			t.Errorf("not caught: %s", m.invariant)
		})
	}
}

// play runs the test.
func (m testedMutant) play(t *testing.T, flags ...string) (string, error) {
	t.Helper()
	args := append([]string{"test", "-short", "-run", "^" + m.test + "$"}, flags...)
	cmd := exec.CommandContext(t.Context(), "go", append(args, "modal-github-runner/services/"+m.pkg)...)
	cmd.Env = append(os.Environ(), faultstest.Dir+"=") // What is broken makes no fault happen that the system survives.
	out, err := cmd.CombinedOutput()
	return string(out), err
}
