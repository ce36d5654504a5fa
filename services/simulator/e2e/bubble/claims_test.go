package bubble_test

import (
	"maps"
	"slices"
	"testing"

	"modal-github-runner/services/internal/faultstest"
)

// claims are the faults of the catalogue that a storm exercises, with what injects each. A storm in which one of them never
// came about fails: it has shown nothing.
var claims = map[string]string{
	"F01": "climates: webhooks are lost",
	"F02": "climates, mishaps.redeliver: webhooks are sent twice, and old ones again",
	"F03": "universe: a repository's own webhook beside the App's",
	"F04": "climates: webhooks come in another order, and a quarter of an hour late",
	"F05": "traffic.cancelled: jobs are cancelled while they are queued",
	"F06": "traffic.thief, traffic.large: runners are given to other jobs, also to some that did not ask for us",
	"F07": "climates: the answer with the JIT configuration is lost",
	"F08": "climates: GitHub refuses a runner for good",
	"F09": "climates: tokens are refused",
	"F10": "climates: the secondary rate limit",
	"F11": "climates: GitHub's API, and its service for runners, answer 503 or late",
	"F15": "traffic.burst: matrices that take more than one pull",
	"F16": "traffic.foreign: labels of nobody's",
	"F20": "mishaps.deafIngress: acknowledgements of what was stored are lost",
	"F21": "mishaps.partition: a worker can't reach the broker",
	"F24": "mishaps.killIngress",
	"F25": "mishaps.restartIngress: SIGTERM under load",
	"F29": "mishaps.restartBroker",
	"F33": "mishaps.deafWorker: acknowledgements and the answers to writes are lost",
	"F38": "climates: what has arrived is delivered again minutes later",
	"F40": "mishaps.poison: a message that nobody can read",
	"F41": "mishaps.killWorker, at any moment",
	"F44": "mishaps.rollWorkers: all workers are restarted at once",
	"F45": "climates: the create call times out, and there is a sandbox",
	"F46": "climates: no room at Modal",
	"F47": "boxes: sandboxes end before their runner registers, or hang",
	"F48": "boxes: sandboxes die in the middle of a job",
	"F49": "boxes: sandboxes go on after they were terminated",
	"F50": "climates: the list of sandboxes fails, at any page",
	"F52": "climates: Modal refuses the token for a while",
	"F54": "universe: the clocks of the workers are minutes apart",
	"F57": "mishaps.scale: down to one worker and up again",
	"F59": "mishaps.purge: the stream of events is emptied",
	"F61": "mishaps.replayAll: each dead letter is replayed twice",
	"F63": "boxes: a sandbox that could not start, and whose exit code is 0",
	"F65": "climates: Modal's control plane answers UNAVAILABLE, before the effect or after it",
}

// prove fails the test for claims without a proof. Else they are recorded for the table of all faults.
func prove(t *testing.T, exercised map[string]int, claims map[string]string) {
	t.Helper()
	for _, f := range slices.Sorted(maps.Keys(claims)) {
		if exercised[f] == 0 {
			t.Errorf("%s was never exercised (%s)", f, claims[f])
		}
	}
	for f := range exercised {
		if claims[f] == "" {
			t.Errorf("%s was exercised, and nobody claims it", f)
		}
	}
	faultstest.Cover(t, slices.Sorted(maps.Keys(claims))...)
}
