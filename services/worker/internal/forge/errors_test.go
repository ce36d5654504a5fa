package forge_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

// limited returns how long the error asks to wait, or 0.
func limited(err error) time.Duration {
	if e, ok := errors.AsType[*run.LimitedError](err); ok {
		return time.Until(e.Until)
	}
	return 0
}

// becomes is what an answer is taken for.
type becomes struct {
	exists, permanent bool
	wait              time.Duration // about, if limited
	says              string
}

func (b becomes) check(t *testing.T, err error) {
	t.Helper()
	wait := limited(err)
	if err == nil || errors.Is(err, run.ErrExists) != b.exists || permanent(err) != b.permanent || !strings.Contains(err.Error(), b.says) ||
		wait > b.wait || wait < b.wait-10*time.Second || (wait > 0) != (b.wait > 0) {
		t.Errorf("got %T: %v (wait %v), want %+v", err, err, wait, b)
	}
	wantNoSecret(t, err)
}

type refusal struct {
	name   string
	status int
	header map[string]string
	body   string
	becomes
}

func (r refusal) serve(w http.ResponseWriter, _ *http.Request) {
	for name, value := range r.header {
		w.Header().Set(name, value)
	}
	respond(w, r.status, r.body)
}

func TestWhatGitHubAnswersToARegistration(t *testing.T) {
	faultstest.Cover(t, "F07", "F08", "F09", "F10", "F11")
	const secondary = `{"message":"You have exceeded a secondary rate limit.","documentation_url":"https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`
	in := func(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }
	tests := []refusal{
		{"the primary limit", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Limit": "5000", "X-RateLimit-Reset": in(10 * time.Minute)}, `{"message":"API rate limit exceeded"}`, becomes{wait: 10 * time.Minute}},
		{"the primary limit, whose end has passed", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": in(-time.Minute)}, `{"message":"API rate limit exceeded"}`, becomes{wait: time.Minute}},
		{"a secondary limit", 403, map[string]string{"Retry-After": "300"}, secondary, becomes{wait: 5 * time.Minute}},
		{"a secondary limit without a time", 403, nil, secondary, becomes{wait: time.Minute}},
		{"a secondary limit, said by the message alone", 403, nil, `{"message":"You have exceeded a secondary rate limit."}`, becomes{wait: time.Minute}},
		{"a 403 with a time to wait for", 403, map[string]string{"Retry-After": "300"}, `{"message":"slow down"}`, becomes{wait: 5 * time.Minute}},
		{"a 429 with a time to wait for", 429, map[string]string{"Retry-After": "300"}, `{"message":"slow down"}`, becomes{wait: 5 * time.Minute}},
		{"a 429 without", 429, nil, `{"message":"slow down"}`, becomes{wait: time.Minute}},
		{"a 429 with a time that is none", 429, map[string]string{"Retry-After": "soon"}, `{"message":"slow down"}`, becomes{wait: time.Minute}},
		{"a 429 with a time that has passed", 429, map[string]string{"Retry-After": "-1"}, `{"message":"slow down"}`, becomes{wait: time.Minute}},
		{"a name that is taken", 409, nil, `{"message":"Already exists"}`, becomes{exists: true}},
		{"a permission that lacks", 403, nil, `{"message":"Resource not accessible by integration"}`, becomes{permanent: true, says: "administration write"}},
		{"a repository that is not there", 404, nil, `{"message":"Not Found"}`, becomes{permanent: true, says: "RUNNER_GROUP_ID"}},
		{"labels that GitHub refuses", 422, nil, `{"message":"Validation Failed"}`, becomes{permanent: true, says: "does not accept these labels"}},
		{"a token that is refused", 401, nil, `{"message":"Bad credentials"}`, becomes{says: "a token that has not expired"}},
		{"a request that GitHub can't read", 400, nil, `{"message":"Problems parsing JSON"}`, becomes{says: "400"}},
		{"an error of GitHub's", 500, nil, `{"message":"Server Error"}`, becomes{says: "500"}},
		{"a gateway that gives up", 502, nil, `<html>`, becomes{says: "502"}},
		{"an outage", 503, nil, ``, becomes{says: "503"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newLaunchGitHub(t)
			f := g.byToken(t)
			g.script = tt.serve
			_, _, err := f.Register(t.Context(), newRunner(1))
			tt.check(t, err)
		})
	}
}

// Each refusal that is known is told apart, by a message as GitHub writes it, and its advice is said.
func TestEachKnownRefusalHasItsAdvice(t *testing.T) {
	messages := map[string]string{
		"runners are disabled": "Repository level self-hosted runners are disabled on this repository.",
		"actions is disabled":  "GitHub Actions is disabled on this repository.",
		"suspended":            "This installation has been suspended",
		"ip allow list": "Although you appear to have the correct authorization credentials, the `octo` organization has an IP allow list enabled, " +
			"and 192.0.2.1 is not permitted to access this resource.",
		"not accessible by integration":           "Resource not accessible by integration",
		"not accessible by personal access token": "Resource not accessible by personal access token",
		"saml enforcement":                        "Resource protected by organization SAML enforcement. You must grant your Personal Access token access to this organization.",
		"admin rights":                            "Must have admin rights to Repository.",
		"archived":                                "Repository was archived so is read-only.",
		"max limit":                               "The runner group has reached max limit of runners.",
		"":                                        "Something that nobody has heard of",
	}
	for _, known := range forge.Refusals() {
		for _, status := range known.Status {
			t.Run(fmt.Sprint(known.Meaning, ", ", status), func(t *testing.T) {
				g := newLaunchGitHub(t)
				f := g.byToken(t)
				answer := refusal{status: status, body: fmt.Sprintf(`{"message":%q}`, messages[known.Says])}
				g.script = answer.serve
				_, _, err := f.Register(t.Context(), newRunner(1))
				becomes{permanent: known.Again == 0 && !known.Soon, wait: known.Again, says: known.Advice}.check(t, err)
			})
		}
	}
}

var update = flag.Bool("update", false, "write REFUSALS.md instead of comparing with it")

// The list for people is the code's.
func TestTheListOfRefusalsIsThatOfTheCode(t *testing.T) {
	var list strings.Builder
	list.WriteString("# When GitHub says no\n\nWhat GitHub's refusals mean, by status and message, and what to do. The advice is in the log, in `worker explain`, in the dead\n" +
		"letter and in the check run that the job's author sees; then `worker dead-letters replay JOB` tries again. Rate limits are not\nhere: they are waited for. " +
		"`go test ./internal/forge -update` rewrites this file.\n\n| What it means | Status | Message contains | What to do |\n|---|---|---|---|\n")
	for _, r := range forge.Refusals() {
		status := strings.Trim(strings.ReplaceAll(fmt.Sprint(r.Status), " ", ", "), "[]")
		again := ""
		if r.Soon {
			again = " (it is tried again, ever more slowly)"
		}
		if r.Again > 0 {
			again = fmt.Sprintf(" (it is tried again every %v)", r.Again)
		}
		says := r.Says
		if says != "" {
			says = "`" + says + "`"
		}
		fmt.Fprintf(&list, "| %s | %s | %s | %s%s |\n", r.Meaning, status, says, r.Advice, again)
	}
	if *update {
		if err := os.WriteFile("REFUSALS.md", []byte(list.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("REFUSALS.md")
	if diff := cmp.Diff(list.String(), string(got)); err != nil || diff != "" {
		t.Errorf("%v; `go test . -update` rewrites it: %s", err, diff)
	}
}

func TestWhatGitHubAnswersToTheRequestForAToken(t *testing.T) {
	faultstest.Cover(t, "F09", "F10", "F11", "F14")
	tests := []refusal{
		{"a limit with a time to wait for", 429, map[string]string{"Retry-After": "300"}, `{"message":"slow down"}`, becomes{wait: 5 * time.Minute, says: "installation token"}},
		{"the primary limit", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(time.Now().Add(10 * time.Minute).Unix())}, `{"message":"API rate limit exceeded"}`, becomes{wait: 10 * time.Minute}},
		{"a secondary limit", 403, nil, `{"message":"You have exceeded a secondary rate limit."}`, becomes{wait: time.Minute}},
		{"a suspended App", 403, nil, `{"message":"This installation has been suspended"}`, becomes{permanent: true, says: "an owner unsuspends the App"}},
		{"an installation that is gone", 404, nil, `{"message":"Not Found"}`, becomes{permanent: true, says: "the App's installation does not exist"}},
		{"a key that is refused", 401, nil, `{"message":"A JSON web token could not be decoded"}`, becomes{says: "the id of an App and its key"}},
		{"an error of GitHub's", 500, nil, `{"message":"Server Error"}`, becomes{says: "500"}},
		{"an answer that can't be read", 201, nil, `{"token":"ghs_` + canary, becomes{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newLaunchGitHub(t)
			f := g.byApp(t)
			g.tokens = tt.serve
			_, _, err := f.Register(t.Context(), newRunner(1))
			tt.check(t, err)
		})
	}
}

func TestAConnectionThatBreaksMayBeTriedAgain(t *testing.T) {
	faultstest.Cover(t, "F11")
	g := newLaunchGitHub(t)
	f := g.byToken(t)
	g.script = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	_, _, err := f.Register(t.Context(), newRunner(1))
	becomes{}.check(t, err)
}

func TestANameOrACertificateThatIsOutOfOrderMayBeMended(t *testing.T) {
	faultstest.Cover(t, "F23")
	g := newLaunchGitHub(t)
	expired := httptest.NewUnstartedServer(g)
	expired.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // It would say that the client does not like the certificate.
	expired.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(-time.Hour))}}
	expired.StartTLS()
	t.Cleanup(expired.Close)
	tests := []struct{ name, url, says string }{
		{"a name that no DNS knows", "https://github..example/api/v3", "no such host"}, // Nobody is asked for a name that can be none.
		{"a certificate that has expired", expired.URL + "/api/v3", "certificate has expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			f := newLaunchGitHub(t).byToken(t, func(o *forge.Options) { o.APIURL = address })
			_, _, err = f.Register(t.Context(), newRunner(1))
			becomes{says: tt.says}.check(t, err)
		})
	}
	if calls := g.sent(); len(calls) != 0 {
		t.Errorf("GitHub was told %v", calls)
	}
}

// certificate is one for the loopback address that is valid until then, and nobody's that anybody trusts.
func certificate(t *testing.T, until time.Time) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.Add(-24 * time.Hour), NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

func TestWhileALimitLastsGitHubIsLeftAlone(t *testing.T) {
	faultstest.Cover(t, "F10")
	g := newLaunchGitHub(t)
	f := g.byToken(t)
	g.script = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(10*time.Minute).Unix()))
		respond(w, http.StatusForbidden, `{"message":"API rate limit exceeded"}`)
	}
	for n := range 3 {
		_, _, err := f.Register(t.Context(), newRunner(n+1))
		becomes{wait: 10 * time.Minute}.check(t, err)
	}
	if calls := g.sent(); len(calls) != 1 {
		t.Errorf("%d requests, want 1", len(calls))
	}
}
