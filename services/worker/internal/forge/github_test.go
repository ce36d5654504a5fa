package forge_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// canary is part of every secret: of tokens, keys and JIT configurations. No error may hold it.
	canary = "canary7f3a"
	appID  = 1234
	// patience bounds everything that a loaded machine may delay.
	patience = 30 * time.Second
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// appKeys are two private keys of one App. They are made once: a key takes a while.
var appKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for n := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[n] = key
	}
	return keys
})

func pemOf(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// sent is a request that GitHub got.
type sent struct{ call, auth, body string }

// launchGitHub is what launches need of GitHub, for an App with two keys and for tokens of persons.
type launchGitHub struct {
	url      *url.URL
	registry *prometheus.Registry

	mu        sync.Mutex
	requests  []sent
	key       *rsa.PublicKey   // the App's key in force
	life      time.Duration    // of installation tokens
	good      map[string]bool  // the tokens that are accepted
	issued    int              // how many installation tokens
	installed map[string]int64 // the App's installations, by repository
	removed   string           // the id of an installation that is gone
	runners   map[string]int64 // registered runners, by name
	busy      bool             // all runners are
	script    http.HandlerFunc // answers in place of the API, but not of authentication
	tokens    http.HandlerFunc // answers in place of access_tokens
}

func newLaunchGitHub(t *testing.T) *launchGitHub {
	t.Helper()
	g := &launchGitHub{
		registry: prometheus.NewRegistry(), key: &appKeys()[0].PublicKey, life: time.Hour, good: map[string]bool{"ghp_" + canary: true},
		installed: map[string]int64{}, runners: map[string]int64{}, removed: "none",
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	var err error
	if g.url, err = url.Parse(server.URL + "/api/v3"); err != nil { // As GitHub Enterprise Server has it.
		t.Fatal(err)
	}
	return g
}

func (g *launchGitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	path, ok := strings.CutPrefix(r.URL.RequestURI(), "/api/v3")
	if err != nil || !ok {
		http.Error(w, "no such page", http.StatusNotFound)
		return
	}
	call, auth := r.Method+" "+path, r.Header.Get("Authorization")
	g.requests = append(g.requests, sent{call, auth, string(body)})
	byApp := strings.HasSuffix(path, "/access_tokens") || strings.HasSuffix(path, "/installation")
	_, token, _ := strings.Cut(auth, " ")
	if byApp && !g.signed(token) || !byApp && !g.good[token] && !strings.Contains(path, "/releases/") {
		respond(w, http.StatusUnauthorized, `{"message":"Bad credentials","documentation_url":"https://docs.github.com/rest"}`)
		return
	}
	switch {
	case strings.HasSuffix(path, "/access_tokens") && g.tokens != nil:
		g.tokens(w, r)
	case strings.HasSuffix(path, "/access_tokens") && strings.Contains(path, "/"+g.removed+"/"):
		respond(w, http.StatusNotFound, `{"message":"Not Found"}`)
	case strings.HasSuffix(path, "/access_tokens"):
		g.issue(w)
	case g.script != nil:
		g.script(w, r)
	case strings.HasSuffix(path, "/installation"):
		id := g.installed[strings.TrimSuffix(strings.TrimPrefix(path, "/repos/"), "/installation")]
		if id == 0 {
			respond(w, http.StatusNotFound, `{"message":"Not Found"}`)
			return
		}
		respond(w, http.StatusOK, fmt.Sprintf(`{"id":%d}`, id))
	case strings.HasSuffix(path, "/generate-jitconfig"):
		g.register(w, body)
	case r.Method == http.MethodDelete:
		g.remove(w, path[strings.LastIndex(path, "/")+1:])
	default:
		g.list(w, r.URL.Query().Get("name"))
	}
}

// signed checks the token by which an App shows who it is, as GitHub does: RS256, ours, at most ten minutes long.
func (g *launchGitHub) signed(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	signature, errSignature := base64.RawURLEncoding.DecodeString(parts[2])
	payload, errPayload := base64.RawURLEncoding.DecodeString(parts[1])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if errSignature != nil || errPayload != nil || rsa.VerifyPKCS1v15(g.key, crypto.SHA256, sum[:], signature) != nil {
		return false
	}
	var claims struct {
		Iss      string `json:"iss"`
		Iat, Exp float64
	}
	now := float64(time.Now().Unix())
	return json.Unmarshal(payload, &claims) == nil && claims.Iss == fmt.Sprint(appID) && claims.Iat <= now && claims.Exp > now && claims.Exp <= now+600
}

func (g *launchGitHub) issue(w http.ResponseWriter) {
	g.issued++
	token := fmt.Sprintf("ghs_%s_%d", canary, g.issued)
	g.good[token] = true
	respond(w, http.StatusCreated, fmt.Sprintf(`{"token":%q,"expires_at":%q,"permissions":{"administration":"write"}}`,
		token, time.Now().Add(g.life).UTC().Format(time.RFC3339)))
}

func (g *launchGitHub) register(w http.ResponseWriter, body []byte) {
	var req struct{ Name string }
	if err := json.Unmarshal(body, &req); err != nil {
		respond(w, http.StatusBadRequest, `{"message":"Problems parsing JSON"}`)
		return
	}
	if _, ok := g.runners[req.Name]; ok {
		respond(w, http.StatusConflict, `{"message":"Already exists - A runner with the name *** already exists."}`)
		return
	}
	g.runners[req.Name] = int64(100 + len(g.requests))
	respond(w, http.StatusCreated, fmt.Sprintf(`{"runner":{"id":%d,"name":%q,"os":"unknown","status":"offline","busy":false,`+
		`"labels":[{"id":5,"name":"modal","type":"custom"}]},"encoded_jit_config":"jit-%s"}`, g.runners[req.Name], req.Name, canary))
}

// list is as careless as a filter may be: it returns every runner whose name begins like that.
func (g *launchGitHub) list(w http.ResponseWriter, name string) {
	var found []string
	for n, id := range g.runners {
		if strings.HasPrefix(n, name) {
			found = append(found, fmt.Sprintf(`{"id":%d,"name":%q,"os":"linux","status":"offline","busy":%v,"labels":[]}`, id, n, g.busy))
		}
	}
	respond(w, http.StatusOK, fmt.Sprintf(`{"total_count":%d,"runners":[%s]}`, len(found), strings.Join(found, ",")))
}

func (g *launchGitHub) remove(w http.ResponseWriter, id string) {
	for name, known := range g.runners {
		if fmt.Sprint(known) != id {
			continue
		}
		if g.busy {
			respond(w, http.StatusUnprocessableEntity, `{"message":"Bad request - Runner is running a job"}`)
			return
		}
		delete(g.runners, name)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	respond(w, http.StatusNotFound, `{"message":"Not Found"}`)
}

func respond(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // A client that went away is what some tests are about.
}

// see runs f while no request runs.
func (g *launchGitHub) see(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// sent lists the requests, without their contents.
func (g *launchGitHub) sent() (calls []string) {
	g.see(func() {
		for _, r := range g.requests {
			calls = append(calls, r.call)
		}
	})
	return calls
}

// byToken is a Forge that has a person's token, with changes made to its options.
func (g *launchGitHub) byToken(t *testing.T, changes ...func(*forge.Options)) *forge.Forge {
	t.Helper()
	metrics, err := forge.NewMetrics(g.registry)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	o := forge.Options{
		APIURL: g.url, Token: config.StaticSecret("ghp_" + canary), Scope: forge.ScopeRepo, GroupID: 3, Transport: transport, Metrics: metrics,
		Budget: &fakeBudget{},
	}
	for _, change := range changes {
		change(&o)
	}
	return forge.New(o)
}

// byApp is a Forge that is the App, with the key in force first.
func (g *launchGitHub) byApp(t *testing.T, changes ...func(*forge.Options)) *forge.Forge {
	t.Helper()
	asApp := func(o *forge.Options) {
		o.Apps, o.Token = []forge.App{{ID: appID, Key: config.StaticSecret(pemOf(appKeys()[0])).Get}}, nil
	}
	return g.byToken(t, append([]func(*forge.Options){asApp}, changes...)...)
}

func newRunner(attempt int) run.Runner {
	return run.Runner{
		Name: run.Name{Job: 289782451, Attempt: attempt}, Scope: "octo/repo",
		Job: run.Job{ID: 289782451, Owner: "octo", Repo: "repo", Installation: 77, Labels: []string{"self-hosted", "Modal"}},
	}
}

// wantNoSecret checks what err shows, however it is printed.
func wantNoSecret(t *testing.T, err error) {
	t.Helper()
	if shown := fmt.Sprintf("%v %+v %q", err, err, err); strings.Contains(shown, canary) || strings.Contains(shown, "PRIVATE KEY") {
		t.Errorf("the error shows a secret: %s", shown)
	}
}

// eventually waits until what it was told comes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
