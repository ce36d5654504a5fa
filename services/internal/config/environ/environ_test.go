package environ_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/config/environ"
)

func TestTheFirstOfTwoEqualNamesCountsAndAnEmptyValueIsAbsent(t *testing.T) {
	t.Parallel()
	got := environ.Parse([]string{"A=1", "A=2", "B=", "B=3", "C=x=y", "D"})
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "3", "C": "x=y"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownVariablesAreErrorsAndOthersAreNot(t *testing.T) {
	t.Parallel()
	known := []string{"APP_ADDR", "APP_ADMIN_ADDR", "APP_MAX_IN_FLIGHT", "LOG_LEVEL"}
	for name, test := range map[string]struct{ entry, want string }{
		"a known variable":                           {"APP_ADDR=x", ""},
		"a variable of somebody else":                {"OTHER_ADDR=x", ""},
		"a letter too few":                           {"APP_ADR=canary", "APP_ADR: is not a known variable, did you mean APP_ADDR?"},
		"two letters swapped":                        {"APP_ADRD=x", "APP_ADRD: is not a known variable, did you mean APP_ADDR?"},
		"three letters wrong in a long name":         {"APP_MX_IN_FLIHTS=x", "APP_MX_IN_FLIHTS: is not a known variable, did you mean APP_MAX_IN_FLIGHT?"},
		"three letters wrong in a short name":        {"APP_R=x", "APP_R: is not a known variable"},
		"a name that is like none":                   {"APP_X=x", "APP_X: is not a known variable"},
		"the link of a service":                      {"APP_PORT=tcp://10.0.0.1:8080", ""},
		"the link of a service with an IPv6 address": {"APP_PORT=tcp://[fd00::1]:8080", ""},
		"the host of a service":                      {"APP_SERVICE_HOST=10.0.0.1", ""},
		"the port of a service":                      {"APP_SERVICE_PORT=8080", ""},
		"a named port of a service":                  {"APP_SERVICE_PORT_HTTP_2=8080", ""},
		"the link of a port":                         {"APP_PORT_8080_TCP=tcp://10.0.0.1:8080", ""},
		"the protocol of a port":                     {"APP_PORT_53_UDP_PROTO=udp", ""},
		"the number of a port":                       {"APP_PORT_8080_TCP_PORT=8080", ""},
		"the address of a port":                      {"APP_PORT_8080_TCP_ADDR=10.0.0.1", ""},
		"a service whose name goes on":               {"APP_ADMIN_SERVICE_HOST=fd00::1", ""},
		"a link by a misspelt name":                  {"APP_PORTT=tcp://10.0.0.1:8080", "APP_PORTT: is not a known variable"},
		"a port that is no link":                     {"APP_PORT=8080", "APP_PORT: is not a known variable"},
		"a link with a path":                         {"APP_PORT=tcp://10.0.0.1:8080/x", "APP_PORT: is not a known variable"},
		"a link with a user":                         {"APP_PORT=tcp://canary@10.0.0.1:8080", "APP_PORT: is not a known variable"},
		"a link to a name":                           {"APP_PORT=tcp://host:8080", "APP_PORT: is not a known variable"},
		"a link of another protocol":                 {"APP_PORT=http://10.0.0.1:8080", "APP_PORT: is not a known variable"},
		"a host that is no address":                  {"APP_SERVICE_HOST=canary", "APP_SERVICE_HOST: is not a known variable"},
		"a port out of range":                        {"APP_SERVICE_PORT=65536", "APP_SERVICE_PORT: is not a known variable"},
		"a port of an unknown protocol":              {"APP_PORT_80_TLS=tcp://10.0.0.1:80", "APP_PORT_80_TLS: is not a known variable"},
		"a port with the wrong protocol":             {"APP_PORT_80_TCP_PROTO=http", "APP_PORT_80_TCP_PROTO: is not a known variable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := errors.Join(environ.Unknown(environ.Parse([]string{test.entry}), known, []string{"APP_"})...); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnknownVariablesComeInOrder(t *testing.T) {
	t.Parallel()
	env := environ.Parse([]string{"APP_C=1", "APP_A=1", "IN_B=1", "APP_B=1"})
	var got []string
	for _, err := range environ.Unknown(env, nil, []string{"APP_", "IN_"}) {
		name, _, _ := strings.Cut(err.Error(), ":")
		got = append(got, name)
	}
	if diff := cmp.Diff([]string{"APP_A", "APP_B", "APP_C", "IN_B"}, got); diff != "" {
		t.Error(diff)
	}
}
