package forge_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

const (
	checksums  = `### SHA\n<!-- BEGIN SHA linux-x64 -->aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa<!-- END SHA linux-x64 -->\n<!-- BEGIN SHA linux-arm64 -->bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb<!-- END SHA linux-arm64 -->`
	wholeNotes = `{"tag_name":"v2.330.0","published_at":"2026-01-02T03:04:05Z","body":"` + checksums + `","assets":[` +
		`{"name":"actions-runner-linux-arm64-2.330.0.tar.gz","browser_download_url":"https://host.invalid/arm64"},` +
		`{"name":"actions-runner-linux-x64-2.330.0.tar.gz","browser_download_url":"https://host.invalid/x64"}]}`
)

func TestARunnerReleaseIsFoundWithItsChecksum(t *testing.T) {
	want := run.RunnerRelease{
		Version: "2.330.0", URL: "https://host.invalid/x64", SHA256: strings.Repeat("a", 64), PublishedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	for version, call := range map[string]string{
		"latest": "GET /repos/actions/runner/releases/latest", "2.330.0": "GET /repos/actions/runner/releases/tags/v2.330.0",
	} {
		t.Run(version, func(t *testing.T) {
			g := newLaunchGitHub(t)
			f := g.byToken(t)
			g.script = func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, wholeNotes) }
			got, err := f.Release(t.Context(), version)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{call}, g.sent()); diff != "" {
				t.Error(diff)
			}
			if g.requests[0].auth != "Bearer ghp_"+canary {
				t.Errorf("asked with %q, want the token, whose limit is higher", g.requests[0].auth)
			}
		})
	}
}

func TestAnAppAsksForAReleaseAsAnybodyMayWhoseLimitIsNotItsOwn(t *testing.T) {
	g := newLaunchGitHub(t)
	f := g.byApp(t)
	g.script = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Ratelimit-Resource", "core")
		w.Header().Set("X-Ratelimit-Remaining", "59")
		w.Header().Set("X-Ratelimit-Reset", "1767323045")
		respond(w, http.StatusOK, wholeNotes)
	}
	if _, err := f.Release(t.Context(), "latest"); err != nil || len(g.requests) != 1 || g.requests[0].auth != "" {
		t.Errorf("got %v, asked %v", err, g.requests)
	}
	if err := testutil.GatherAndCompare(g.registry, strings.NewReader(""), "worker_github_rate_limit_remaining"); err != nil {
		t.Error(err)
	}
}

// A GitHub Enterprise Server, or a company's part of ghe.com, has no actions/runner of its own, unless somebody keeps a copy there.
func TestAReleaseThatTheOwnGitHubLacksIsFoundAtThePublicOneWithoutTheToken(t *testing.T) {
	for name, test := range map[string]struct {
		own, public   int
		asked         bool
		release, says string
	}{
		"one with a copy":                    {own: 200, release: "2.330.0"},
		"one without":                        {own: 404, public: 200, asked: true, release: "2.330.0"},
		"one that tells only its own people": {own: 401, public: 200, asked: true, release: "2.330.0"},
		"one that forbids it":                {own: 403, public: 200, asked: true, release: "2.330.0"},
		"one that is down":                   {own: 503, says: "find runner release 2.330.0: "},
		"neither has it":                     {own: 404, public: 404, asked: true, says: "RUNNER_VERSION: must be a release of actions/runner that "},
		"the public one is down":             {own: 404, public: 503, asked: true, says: "find runner release 2.330.0: "},
	} {
		t.Run(name, func(t *testing.T) {
			own, public := newLaunchGitHub(t), newLaunchGitHub(t)
			own.script = func(w http.ResponseWriter, _ *http.Request) { respond(w, test.own, wholeNotes) }
			public.script = func(w http.ResponseWriter, _ *http.Request) { respond(w, test.public, wholeNotes) }
			f := own.byToken(t, func(o *forge.Options) { o.PublicURL = public.url })
			got, err := f.Release(t.Context(), "2.330.0")
			if got.Version != test.release || (err == nil) != (test.says == "") || err != nil && !strings.HasPrefix(err.Error(), test.says) {
				t.Errorf("got %+v, %v, want %q", got, err, test.says)
			}
			const call = "GET /repos/actions/runner/releases/tags/v2.330.0"
			want := []sent(nil)
			if test.asked {
				want = []sent{{call, "", ""}}
			}
			if !slices.Equal(public.requests, want) {
				t.Errorf("the public one was asked %v", public.requests)
			}
			if own := own.requests; len(own) != 1 || own[0].auth != "Bearer ghp_"+canary {
				t.Errorf("the own one was asked %v", own)
			}
		})
	}
}

func TestAReleaseThatCannotBeTrustedIsAnError(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		says   string
	}{
		{"its notes give no checksum", 200, strings.Replace(wholeNotes, "linux-x64 -->", "osx-x64 -->", 2), "runner release 2.330.0: its notes give no SHA-256 for linux-x64"},
		{"its checksum is cut", 200, strings.Replace(wholeNotes, "aaaa", "aa", 1), "runner release 2.330.0: its notes give no SHA-256 for linux-x64"},
		{"it has no such file", 200, strings.Replace(wholeNotes, "runner-linux-x64", "runner-win-x64", 1), "runner release 2.330.0: has no file actions-runner-linux-x64-2.330.0.tar.gz"},
		{"there is none", 404, `{"message":"Not Found"}`, "RUNNER_VERSION: must be a release of actions/runner that "},
		{"GitHub is down", 503, ``, "find runner release 2.330.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newLaunchGitHub(t)
			f := g.byToken(t)
			g.script = func(w http.ResponseWriter, _ *http.Request) { respond(w, tt.status, tt.body) }
			got, err := f.Release(t.Context(), "2.330.0")
			if err == nil || !strings.HasPrefix(err.Error(), tt.says) || got != (run.RunnerRelease{}) {
				t.Errorf("got %+v, %v, want %s", got, err, tt.says)
			}
			wantNoSecret(t, err)
		})
	}
}
