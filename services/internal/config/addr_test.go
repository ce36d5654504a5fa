package config_test

import (
	"testing"

	"modal-github-runner/services/internal/config"
)

func TestAddressesToListenOn(t *testing.T) {
	t.Parallel()
	const (
		form = ` must be host:port or :port`
		host = ` must have an IP address, a host's name or nothing before the port`
		port = ` must have a port from 0 to 65535, or a service's name, at its end`
	)
	for addr, want := range map[string]string{
		":8080": "", "127.0.0.1:0": "", "[::1]:65535": "", "localhost:80": "", "[fe80::1%eth0]:80": "", "my-host.example:http": "",
		"": form, "8080": form, "127.0.0.1:": form, "::1:80": form,
		"127.0.0.1:65536": port, "127.0.0.1:-1": port, ":no-such-service": port,
		"a b:80": host, "http://host:80": form, "-host:80": host, "*:80": host,
	} {
		got := ""
		if err := config.CheckListen("ADDR", addr); err != nil {
			got = err.Error()
		}
		if want != "" {
			want = "ADDR:" + want + ` (got "` + addr + `")`
		}
		if got != want {
			t.Errorf("CheckListen(%q) = %s, want %s", addr, got, want)
		}
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	const host, port = ` must be a host name`, ` must have a port from 1 to 65535, if any`
	for value, want := range map[string]string{
		"host": "", "my-host.example": "", "host:1": "", "10.0.0.1:65535": "",
		"host:0": port, "host:65536": port, "host:99999999999999999999": port,
		"": host, "host:": host, ":80": host, "host:80:80": host, "host:http": host, "https://host": host, "-host": host, "host.": host, "a b": host,
		"host:80/x": host, "host?x": host,
	} {
		got := ""
		if err := config.CheckHost("HOST", value); err != nil {
			got = err.Error()
		}
		if want != "" {
			want = "HOST:" + want + ` (got "` + value + `")`
		}
		if got != want {
			t.Errorf("CheckHost(%q) = %s, want %s", value, got, want)
		}
	}
}

func TestListenersClashOnlyIfTheyCantBothBeOpened(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		a, b string
		want bool
	}{
		"the same":                       {"127.0.0.1:80", "127.0.0.1:80", true},
		"the same, by a service's name":  {"127.0.0.1:80", "127.0.0.1:http", true},
		"everywhere and one address":     {":80", "127.0.0.1:80", true},
		"one address and everywhere":     {"[::1]:80", "0.0.0.0:80", true},
		"everywhere, in two spellings":   {"[::]:80", ":80", true},
		"two ports":                      {":80", ":81", false},
		"two addresses":                  {"127.0.0.1:80", "127.0.0.2:80", false},
		"any free port":                  {"127.0.0.1:0", "127.0.0.1:0", false},
		"what is no address is no clash": {"80", "80", false},
		"what has no port is no clash":   {"127.0.0.1:x-y", "127.0.0.1:x-y", false},
	} {
		if got := config.ListenersClash(test.a, test.b); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
