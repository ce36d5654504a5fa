package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"modal-github-runner/services/simulator/internal/demo/rig"
)

// links puts a proxy between each program and what it connects to, so that a test can slow and cut single connections.
type links struct {
	t       *testing.T
	server  *toxiproxy.ApiServer
	proxies map[rig.Link]*toxiproxy.Proxy
}

func newLinks(t *testing.T) *links {
	zerolog.SetGlobalLevel(zerolog.Disabled) // Some toxics log by the library's own logger.
	return &links{
		t: t, server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), proxies: map[rig.Link]*toxiproxy.Proxy{},
	}
}

// via is for rig.Options.
func (l *links) via(link rig.Link, to string) string {
	target, err := url.Parse(to)
	if err != nil {
		l.t.Fatal(err)
	}
	proxy, known := l.proxies[link]
	if !known {
		upstream := target.Host
		if link.To == rig.ToGitHub {
			upstream = l.sameHost(target)
		}
		proxy = toxiproxy.NewProxy(l.server, link.From+" to "+string(link.To), "127.0.0.1:0", upstream)
		if err := proxy.Start(); err != nil {
			l.t.Fatal(err)
		}
		l.proxies[link] = proxy
		l.t.Cleanup(func() {
			l.heal(link)
			proxy.Stop()
		})
	}
	return target.Scheme + "://" + proxy.Listen + target.Path
}

// sameHost is the address of a relay that says to GitHub what its clients mean by Host: GitHub tells runners to come to the
// host that their configuration was asked of, and they are not to come by this link.
func (l *links) sameHost(target *url.URL) string {
	transport := &http.Transport{}
	relay := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }, Transport: transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	l.t.Cleanup(func() { relay.Close(); transport.CloseIdleConnections() })
	return relay.Listener.Addr().String()
}

// toxic is what can be wrong with a link; see the README of toxiproxy for the types and what they take.
type toxic struct {
	Type string `json:"type"`
	// Stream is upstream for what the program says, downstream for what it hears.
	Stream     string         `json:"stream"`
	Attributes map[string]int `json:"attributes"`
}

// cut closes the connections of a link and every new one as well. One direction is enough for that.
var cut = toxic{Type: "timeout", Stream: "upstream", Attributes: map[string]int{"timeout": 1}}

func (l *links) poison(link rig.Link, with ...toxic) {
	l.t.Helper()
	for _, x := range with {
		spec, err := json.Marshal(x)
		if err != nil {
			l.t.Fatal(err)
		}
		if _, err := l.proxies[link].Toxics.AddToxicJson(strings.NewReader(string(spec))); err != nil {
			l.t.Fatalf("%s to %s: %s: %v", link.From, link.To, spec, err)
		}
	}
}

// heal removes all that is wrong with a link.
func (l *links) heal(link rig.Link) {
	// Not the test's context, which has ended when the test cleans up.
	l.proxies[link].Toxics.ResetToxics(context.WithoutCancel(l.t.Context()))
}
