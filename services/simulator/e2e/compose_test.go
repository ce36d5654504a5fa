package e2e_test

import (
	"regexp"
	"slices"
	"testing"
)

var (
	composeVariable = regexp.MustCompile(`\$\{([A-Z_]+)`)
	envVariable     = regexp.MustCompile(`(?m)^#?([A-Z_]+)=`)
	envLogin        = regexp.MustCompile(`(?m)^GITHUB_`)
)

// notExplained are the variables of the demo and of those who work on this, which nobody else needs.
var notExplained = []string{"DEMO_JOBS", "INSECURE_DEV", "MODAL_SERVER_URL", "SIMULATOR_PORT", "TOXIPROXY_PORT"}

func TestEnvExampleExplainsEachVariableOfCompose(t *testing.T) {
	t.Parallel()
	names := func(pattern *regexp.Regexp, content string) (found []string) {
		for _, match := range pattern.FindAllStringSubmatch(content, -1) {
			found = append(found, match[1])
		}
		return found
	}
	example := read(t, ".env.example")
	used := names(composeVariable, read(t, "docker-compose.yml")+read(t, "deployments", "compose", "cluster.yml"))
	explained := names(envVariable, example)
	for _, name := range used {
		if !slices.Contains(explained, name) && !slices.Contains(notExplained, name) {
			t.Errorf(".env.example does not explain %s", name)
		}
	}
	for _, name := range explained {
		if !slices.Contains(used, name) {
			t.Errorf("nothing reads %s", name)
		}
	}
	// An App and a token exclude each other, and Docker starts nothing whose secret's file is not there.
	if envLogin.MatchString(example) {
		t.Error("who has an App must take out a token, or the reverse: which it is must be chosen")
	}
}
