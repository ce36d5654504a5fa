package environ

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// linkForms are the variables by which Kubernetes tells each pod of the services in its namespace, unless enableServiceLinks
// is false: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables. For a service "app" they
// begin with APP_, and so they do for a service "app-admin".
func linkForms() []linkForm {
	const port = `_PORT_\d+_(TCP|UDP|SCTP)`
	return []linkForm{
		{regexp.MustCompile(`_SERVICE_HOST$`), isIP},
		{regexp.MustCompile(`_SERVICE_PORT(_[A-Z0-9_]+)?$`), isPort},
		{regexp.MustCompile(`_PORT$`), isLink},
		{regexp.MustCompile(port + `$`), isLink},
		{regexp.MustCompile(port + `_PROTO$`), isProtocol},
		{regexp.MustCompile(port + `_PORT$`), isPort},
		{regexp.MustCompile(port + `_ADDR$`), isIP},
	}
}

type linkForm struct {
	name  *regexp.Regexp
	value func(string) bool
}

// isServiceLink goes by name and value, so that a misspelt variable of ours stays an error.
func isServiceLink(name, value, prefix string) bool {
	rest := name[len(strings.TrimSuffix(prefix, "_")):]
	return slices.ContainsFunc(linkForms(), func(f linkForm) bool { return f.name.MatchString(rest) && f.value(value) })
}

func isIP(value string) bool {
	_, err := netip.ParseAddr(value)
	return err == nil
}

func isPort(value string) bool {
	port, err := strconv.ParseUint(value, 10, 16)
	return err == nil && port > 0
}

func isProtocol(value string) bool { return slices.Contains([]string{"tcp", "udp", "sctp"}, value) }

// isLink accepts tcp://10.0.0.1:8080.
func isLink(value string) bool {
	u, err := url.Parse(value)
	return err == nil && isProtocol(u.Scheme) && isIP(u.Hostname()) && isPort(u.Port()) && value == u.Scheme+"://"+u.Host
}
