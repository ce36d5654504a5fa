package fleet_test

import (
	"cmp"
	"os/exec"
	"strings"
	"testing"
)

// GitHub gives a job of a fork to any runner with its labels. Where none may run, no step of it does.
func TestNoStepOfAForksJobRunsInASandboxForOthers(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no Node.js here, which the real runner brings along")
	}
	request := func(head string) string {
		return `{"repository": {"id": 1}, "pull_request": {"head": {"repo": ` + head + `}}}`
	}
	for name, test := range map[string]struct {
		event, name string
		node        string // what the runner's Node.js is, if not the one here
		untrusted   bool
		private     bool // only jobs of private repositories may run there
		ends        bool
	}{
		"a push":                              {event: `{"repository": {"id": 1}}`},
		"a pull request of the repository":    {event: request(`{"id": 1}`)},
		"a pull request of a fork":            {event: request(`{"id": 2}`), ends: true},
		"one whose fork is gone":              {event: request(`null`), ends: true},
		"one that says it is no fork":         {event: `{"repository": {"id": 1}, "pull_request": {"body": "\"repo\": {\"id\": 1}", "head": {"repo": {"id": 2}}}}`, ends: true},
		"one that runs the repository's code": {event: request(`{"id": 2}`), name: "pull_request_target"},
		"where jobs of forks may run":         {event: request(`{"id": 2}`), untrusted: true},
		"an event that is not told":           {event: ""},
		"an event that is of no known form":   {event: "{"},
		"a push where Node.js does not run":   {event: `{"repository": {"id": 1}}`, name: "push", node: "/bin/false"},
		"a fork's where Node.js does not run": {event: request(`{"id": 2}`), node: "/bin/false", ends: true},
		"a push to a private repository":      {event: `{"repository": {"id": 1, "private": true}}`, name: "push", private: true},
		"a fork of a private repository":      {event: `{"repository": {"id": 1, "private": true}, "pull_request": {"head": {"repo": {"id": 2}}}}`, private: true, ends: true},
		"a push to a public repository":       {event: `{"repository": {"id": 1, "private": false}}`, name: "push", private: true, ends: true},
		"one that says it is not public":      {event: `{"inputs": {"private": true}, "repository": {"id": 1}}`, name: "workflow_dispatch", private: true, ends: true},
		"a repository that is not told":       {event: "{", name: "push", private: true, ends: true},
		"no event at all":                     {event: "", name: "push", private: true, ends: true},
		"a private one without Node.js":       {event: `{"repository": {"id": 1, "private": true}}`, name: "push", node: "/bin/false", private: true, ends: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eventName := "pull_request"
			if test.name != "" {
				eventName = test.name
			}
			env := []string{"NODE=" + cmp.Or(test.node, node), "EVENT=" + test.event, "GITHUB_EVENT_NAME=" + eventName}
			switch {
			case test.private:
				env = append(env, "RUNNER_TRUSTED=private")
			case !test.untrusted:
				env = append(env, "RUNNER_TRUSTED=1")
			}
			p := startSandboxWith(t, "600", `mkdir -p "$ACTIONS_RUNNER_HOME/externals/node20/bin" && ln -s "$NODE" "$ACTIONS_RUNNER_HOME/externals/node20/bin/node"
				printf %s "$EVENT" >event.json; export GITHUB_EVENT_PATH=$PWD/event.json
				NODE_OPTIONS='--import=data:text/javascript,process.exit(0)' BASH_ENV='$(exit 0)' "$ACTIONS_RUNNER_HOOK_JOB_STARTED"; echo "a step runs"`, env, nil)
			_, rest := p.end(t)
			if ended := !strings.Contains(rest, "a step runs"); ended != test.ends || ended != strings.Contains(p.errs.String(), "its pool does not allow untrusted jobs") {
				t.Errorf("ended: %v, want %v; %s %s", ended, test.ends, rest, p.errs)
			}
		})
	}
}
