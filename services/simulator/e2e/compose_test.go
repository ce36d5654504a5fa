package e2e_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

var (
	composeVariable = regexp.MustCompile(`(?:^|[^$])\$\{([A-Z_]+)`) // `$${NAME` is for the shell in a container
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
	used := names(composeVariable, read(t, "docker-compose.yml")+read(t, "deployments", "compose", "cluster.yml")+
		read(t, "deployments", "compose", "tls.yml")+read(t, "deployments", "compose", "nats-tls.yml"))
	explained := names(envVariable, example)
	for _, name := range used {
		if !slices.Contains(explained, name) && !slices.Contains(notExplained, name) {
			t.Errorf(".env.example does not explain %s", name)
		}
	}
	for _, name := range explained {
		if !slices.Contains(used, name) && name != "COMPOSE_FILE" { // Compose itself does.
			t.Errorf("nothing reads %s", name)
		}
	}
	// An App and a token exclude each other, and Docker starts nothing whose secret's file is not there.
	if envLogin.MatchString(example) {
		t.Error("who has an App must take out a token, or the reverse: which it is must be chosen")
	}
}

func TestComposeTellsTheWorkerOfAProxy(t *testing.T) {
	t.Parallel()
	var stack struct {
		Services map[string]struct{ Environment map[string]string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &stack); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"} {
		if value := stack.Services["worker"].Environment[name]; !strings.HasSuffix(value, "${"+name+":-}") { // Empty is none for the worker.
			t.Errorf("%s is %q", name, value)
		}
	}
}

func TestEachServerOfTheClusterHasAVolumeOfItsOwn(t *testing.T) {
	t.Parallel()
	type stack struct {
		Services map[string]struct{ Volumes []string }
	}
	var alone, cluster stack
	for file, into := range map[string]*stack{"docker-compose.yml": &alone, "deployments/compose/cluster.yml": &cluster} {
		if err := yaml.Unmarshal([]byte(read(t, file)), into); err != nil {
			t.Fatal(err)
		}
	}
	data := func(s stack, service string) string {
		for _, volume := range s.Services[service].Volumes {
			if name, ok := strings.CutSuffix(volume, ":/data"); ok {
				return name
			}
		}
		return ""
	}
	seen := []string{data(alone, "nats")} // A cluster deletes the streams of a server that stood alone.
	for _, server := range []string{"nats", "nats-2", "nats-3"} {
		volume := data(cluster, server)
		if volume == "" || slices.Contains(seen, volume) {
			t.Errorf("%s has the volume %q, and %q are taken", server, volume, seen)
		}
		seen = append(seen, volume)
	}
	if volume := data(cluster, "nats-data"); volume != data(cluster, "nats") {
		t.Errorf("the volume %q is given to nats-server, and %q is used", volume, data(cluster, "nats"))
	}
}
