package fakegithub_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-github/v66/github"
	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/internal/actionsrunner"
	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/world"
)

// TestMain lets this binary be the runner of a distribution, as bin/simulator is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "runner" {
		os.Exit(actionsrunner.Main(context.Background(), os.Args[2:], os.Environ(), os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

const (
	appID   = 4711
	pat     = "ghp_personal"
	secret  = "It's a Secret to Everybody"
	soon    = 30 * time.Second // generous: the machine may be busy
	waitFor = 5 * time.Millisecond
)

// appKey is made once; tests only read it.
var appKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// rig is a GitHub with the organization acme, its private repository app, the user octo with the public repository
// hello, and the App installed at both, behind a real listener.
type rig struct {
	*fakegithub.GitHub
	t     *testing.T
	url   string
	check *validator
	inst  world.Installation
}

func newRig(t *testing.T, o fakegithub.Options) *rig {
	t.Helper()
	o.AppID, o.AppKey, o.Tokens = appID, &appKey().PublicKey, []string{pat}
	gh, err := fakegithub.New(o)
	must(t, err)
	srv := httptest.NewServer(gh)
	t.Cleanup(func() {
		gh.Close()
		srv.Close()
	})
	r := &rig{GitHub: gh, t: t, url: srv.URL, check: newValidator(t)}
	_, err = gh.World.AddOwner("acme", true)
	must(t, err)
	_, err = gh.World.AddRepo("acme", "app", true)
	must(t, err)
	_, err = gh.World.AddOwner("octo", false)
	must(t, err)
	_, err = gh.World.AddRepo("octo", "hello", false)
	must(t, err)
	r.inst, err = gh.World.Install("acme")
	must(t, err)
	_, err = gh.World.Install("octo")
	must(t, err)
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client is go-github as the worker uses it, with the transport's authentication; its answers are validated.
func (r *rig) client(transport http.RoundTripper) *github.Client {
	r.t.Helper()
	c, err := github.NewClient(&http.Client{Transport: transport}).WithEnterpriseURLs(r.url, r.url)
	must(r.t, err)
	return c
}

func (r *rig) asApp() *github.Client {
	t, err := ghinstallation.NewAppsTransport(r.check, appID, appKeyPEM())
	must(r.t, err)
	t.BaseURL = r.url + "/api/v3"
	return r.client(t)
}

func (r *rig) asInstallation() *github.Client {
	t, err := ghinstallation.New(r.check, appID, r.inst.ID, appKeyPEM())
	must(r.t, err)
	t.BaseURL = r.url + "/api/v3"
	return r.client(t)
}

func (r *rig) asUser() *github.Client { return r.client(r.check).WithAuthToken(pat) }

func appKeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(appKey())})
}

// jit registers a runner of acme/app through the API and returns its configuration.
func (r *rig) jit(name string, labels ...string) string {
	r.t.Helper()
	out, _, err := r.asInstallation().Actions.GenerateRepoJITConfig(r.t.Context(), "acme", "app", &github.GenerateJITConfigRequest{
		Name: name, RunnerGroupID: 1, Labels: labels,
	})
	must(r.t, err)
	return out.GetEncodedJITConfig()
}

func (r *rig) dispatch(repo string, jobs ...world.JobSpec) (world.Run, []world.Job) {
	r.t.Helper()
	run, out, err := r.World.Dispatch(world.Workflow{Repo: repo, Jobs: jobs})
	must(r.t, err)
	return run, out
}

// eventually polls until ok, for at most soon.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(soon)
	for tick := time.NewTicker(waitFor); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen within %v: %s", soon, what)
		}
	}
}

// validator is a transport that checks every answer against GitHub's OpenAPI description.
type validator struct {
	t    *testing.T
	base *http.Transport
	doc  *openapi3.T

	mu   sync.Mutex
	seen map[string]bool // "METHOD path status" of the description
}

var description = sync.OnceValues(func() (*openapi3.T, error) {
	return openapi3.NewLoader().LoadFromFile("testdata/actions-runners.json")
})

func newValidator(t *testing.T) *validator {
	doc, err := description()
	must(t, err)
	v := &validator{t: t, base: &http.Transport{}, doc: doc, seen: map[string]bool{}}
	t.Cleanup(v.base.CloseIdleConnections)
	return v
}

func (v *validator) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := v.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	must(v.t, resp.Body.Close())
	resp.Body = io.NopCloser(bytes.NewReader(body))
	v.validate(req.Method, strings.TrimPrefix(req.URL.Path, "/api/v3"), resp.StatusCode, body)
	return resp, nil
}

func (v *validator) validate(method, path string, status int, body []byte) {
	template, op := v.operation(method, path)
	if op == nil {
		v.t.Errorf("%s %s is not in the description", method, path)
		return
	}
	answer := op.Responses.Status(status)
	if answer == nil {
		v.t.Errorf("%s %s answered %d, which the description does not have", method, template, status)
		return
	}
	v.mu.Lock()
	v.seen[method+" "+template] = true
	v.mu.Unlock()
	media := answer.Value.Content.Get("application/json")
	if media == nil {
		return
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		v.t.Errorf("%s %s: %v", method, template, err)
		return
	}
	if err := media.Schema.Value.VisitJSON(value, openapi3.MultiErrors()); err != nil {
		v.t.Errorf("%s %s answered %d against the description: %v", method, template, status, err)
	}
}

func (v *validator) operation(method, path string) (string, *openapi3.Operation) {
	parts := strings.Split(path, "/")
	best, literals := "", -1
	for template := range v.doc.Paths.Map() {
		want := strings.Split(template, "/")
		same := 0
		fits := len(want) == len(parts)
		for i := 0; fits && i < len(want); i++ {
			if want[i] == parts[i] {
				same++
			} else {
				fits = strings.HasPrefix(want[i], "{")
			}
		}
		if fits && same > literals && v.doc.Paths.Value(template).GetOperation(method) != nil {
			best, literals = template, same
		}
	}
	if best == "" {
		return "", nil
	}
	return best, v.doc.Paths.Value(best).GetOperation(method)
}
