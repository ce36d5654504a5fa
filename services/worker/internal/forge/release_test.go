package forge_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

func TestAnAppAsksForAReleaseAsAnybodyMay(t *testing.T) {
	g := newLaunchGitHub(t)
	f := g.byApp(t)
	g.script = func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, wholeNotes) }
	if _, err := f.Release(t.Context(), "latest"); err != nil || len(g.requests) != 1 || g.requests[0].auth != "" {
		t.Errorf("got %v, asked %v", err, g.requests)
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
