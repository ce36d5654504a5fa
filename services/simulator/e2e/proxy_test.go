package e2e_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
)

// proxied is a domain whose names nobody knows but the proxy: its hosts are this machine.
const proxied = ".proxied.example"

// proxy is an HTTP proxy as companies have one. It forwards requests and, for CONNECT, opens tunnels, and remembers to what.
type proxy struct {
	mu   sync.Mutex
	used map[string]bool // by "forwards host" or "tunnels to host"
}

func (p *proxy) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used[what] = true
}

// local is where a host of the domain really is.
func local(hostport string) string {
	_, port, _ := net.SplitHostPort(hostport)
	return net.JoinHostPort("127.0.0.1", port)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	if r.Method != http.MethodConnect {
		p.note("forwards " + host)
		(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Host = local(r.In.Host)
			r.Out.Host = r.Out.URL.Host // GitHub tells runners to come to where it was asked.
		}}).ServeHTTP(w, r)
		return
	}
	p.note("tunnels to " + host)
	there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", local(r.Host))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = there.Close() }()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = here.Close() }()
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(there, buffered)
		_ = there.Close()
	})
	_, _ = io.Copy(here, there)
	_ = here.Close()
	both.Wait()
}

// Where GitHub and Modal can be reached through a proxy only, the proxy of the environment is used for both.
func TestAWorkerReachesGitHubAndModalThroughAProxy(t *testing.T) {
	t.Parallel()
	p := &proxy{used: map[string]bool{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	via := func(l rig.Link, address string) string {
		u, err := url.Parse(address)
		if err != nil || l.To == rig.ToNATS {
			return address
		}
		u.Host = string(l.To) + proxied + ":" + u.Port()
		return u.String()
	}
	s := start(t, rig.Options{Via: via, Env: []string{"HTTP_PROXY=" + server.URL, "HTTPS_PROXY=" + server.URL}})
	s.dispatch(t.Context(), "acme/api", task("job", 0))
	s.succeeds(soon, "job")
	s.leavesNothing(soon)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, want := range []string{"forwards github" + proxied, "tunnels to modal" + proxied} {
		if !p.used[want] {
			t.Errorf("it never %s; it %v", want, p.used)
		}
	}
}
