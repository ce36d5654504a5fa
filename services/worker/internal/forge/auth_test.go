package forge_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/forge"
)

const (
	askToken    = "POST /app/installations/77/access_tokens"
	askJIT      = "POST /repos/octo/repo/actions/runners/generate-jitconfig"
	askInstalls = "GET /repos/octo/repo/installation"
)

func count(calls []string, call string) (n int) {
	for _, c := range calls {
		if c == call {
			n++
		}
	}
	return n
}

// registered makes the next registration, with a name of its own.
func registered(t *testing.T, f *forge.Forge, attempt int) {
	t.Helper()
	if _, _, err := f.Register(t.Context(), newRunner(attempt)); err != nil {
		t.Fatal(err)
	}
}

func TestManyCallsOfAnAppShareOneInstallationToken(t *testing.T) {
	g := newLaunchGitHub(t)
	f := g.byApp(t)
	var calling sync.WaitGroup
	for n := range 20 {
		calling.Go(func() {
			if _, _, err := f.Register(t.Context(), newRunner(n+1)); err != nil {
				t.Errorf("call %d: %v", n, err)
			}
		})
	}
	calling.Wait()
	registered(t, f, 21)
	if calls := g.sent(); count(calls, askToken) != 1 || count(calls, askJIT) != 21 {
		t.Errorf("%d tokens for %d calls, want 1 for 21", count(calls, askToken), count(calls, askJIT))
	}
	for _, r := range g.requests {
		if r.call == askJIT && r.auth != "token ghs_"+canary+"_1" {
			t.Errorf("a call was made with %q", r.auth)
		}
	}
}

func TestEachInstallationHasATokenOfItsOwn(t *testing.T) {
	g := newLaunchGitHub(t)
	f := g.byApp(t)
	registered(t, f, 1)
	other := newRunner(2)
	other.Job.Installation = 78
	if _, _, err := f.Register(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{askToken, askJIT, "POST /app/installations/78/access_tokens", askJIT}, g.sent()); diff != "" {
		t.Error(diff)
	}
}

func TestAnInstallationTokenThatExpiresIsReplaced(t *testing.T) {
	g := newLaunchGitHub(t)
	g.life = 20 * time.Second // Too short to begin a call with.
	f := g.byApp(t)
	registered(t, f, 1)
	registered(t, f, 2)
	if diff := cmp.Diff([]string{askToken, askJIT, askToken, askJIT}, g.sent()); diff != "" {
		t.Error(diff)
	}
}

func TestAnInstallationTokenThatGitHubRefusesIsReplaced(t *testing.T) {
	faultstest.Cover(t, "F09")
	g := newLaunchGitHub(t)
	f := g.byApp(t)
	registered(t, f, 1)
	g.see(func() { clear(g.good) })
	_, _, err := f.Register(t.Context(), newRunner(2))
	if err == nil || permanent(err) {
		t.Errorf("with a revoked token: %v, want an error that may pass", err)
	}
	wantNoSecret(t, err)
	registered(t, f, 2)
	if diff := cmp.Diff([]string{askToken, askJIT, askJIT, askToken, askJIT}, g.sent()); diff != "" {
		t.Error(diff)
	}
}

// rotating is a secret in a file, and the function that replaces it.
func rotating(t *testing.T, first string) (*config.SecretSource, func(string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	write := func(value string) {
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	source, err := config.FileSecret(file)
	if err != nil {
		t.Fatal(err)
	}
	return source, write
}

func TestARotatedKeyIsInUseWithoutARestart(t *testing.T) {
	faultstest.Cover(t, "F62")
	g := newLaunchGitHub(t)
	source, rotate := rotating(t, pemOf(appKeys()[0]))
	f := g.byApp(t, func(o *forge.Options) { o.Apps[0].Key = source.Get })
	registered(t, f, 1)
	rotate(pemOf(appKeys()[1]) + "\n")
	g.see(func() { clear(g.good); g.key = &appKeys()[1].PublicKey }) // The old key's tokens end with it.
	attempt := 1
	eventually(t, "a call with the rotated key", func() bool {
		attempt++
		_, _, err := f.Register(t.Context(), newRunner(attempt))
		wantNoSecret(t, err)
		return err == nil
	})
}

func TestARotatedTokenIsInUseWithoutARestart(t *testing.T) {
	faultstest.Cover(t, "F62")
	g := newLaunchGitHub(t)
	source, rotate := rotating(t, "ghp_"+canary)
	f := g.byToken(t, func(o *forge.Options) { o.Token = source })
	registered(t, f, 1)
	rotate("ghp_rotated_" + canary)
	g.see(func() { g.good = map[string]bool{"ghp_rotated_" + canary: true} })
	attempt := 1
	eventually(t, "a call with the rotated token", func() bool {
		attempt++
		_, _, err := f.Register(t.Context(), newRunner(attempt))
		wantNoSecret(t, err)
		return err == nil
	})
	if first, last := g.requests[0].auth, g.requests[len(g.requests)-1].auth; first != "Bearer ghp_"+canary || last != "Bearer ghp_rotated_"+canary {
		t.Errorf("called with %q, then %q", first, last)
	}
}

func TestAKeyThatIsNoneIsNotShown(t *testing.T) {
	g := newLaunchGitHub(t)
	for _, installation := range []int64{77, 0} {
		f := forge.New(forge.Options{APIURL: g.url, Apps: []forge.App{{ID: appID, Key: config.StaticSecret("-----BEGIN RSA PRIVATE KEY-----\n" + canary).Get}}})
		r := newRunner(1)
		r.Job.Installation = installation
		_, _, err := f.Register(t.Context(), r)
		if permanent(err) || err == nil || !strings.Contains(err.Error(), "GITHUB_APP_PRIVATE_KEY: must be") {
			t.Errorf("got %v", err)
		}
		wantNoSecret(t, err)
	}
}

func TestTheInstallationOfARepositoryWithAHookOfItsOwnIsAskedForOnce(t *testing.T) {
	g := newLaunchGitHub(t)
	f := g.byApp(t)
	hook := newRunner(1)
	hook.Job.Installation = 0
	_, _, err := f.Register(t.Context(), hook)
	if !permanent(err) || !strings.Contains(err.Error(), "find installation for octo/repo") {
		t.Errorf("without an installation: %v, want an error for good", err)
	}
	g.see(func() { g.installed["octo/repo"], g.requests = 77, nil })
	for range 2 {
		if _, _, err := f.Register(t.Context(), hook); err != nil {
			t.Fatal(err)
		}
		hook.Name.Attempt++
	}
	if diff := cmp.Diff([]string{askInstalls, askToken, askJIT, askJIT}, g.sent()); diff != "" {
		t.Error(diff)
	}
}

func TestAnAppThatIsInstalledAnewIsFoundAgain(t *testing.T) {
	faultstest.Cover(t, "F14")
	g := newLaunchGitHub(t)
	f := g.byApp(t)
	g.installed["octo/repo"], g.life = 77, 20*time.Second // Too short to be used twice.
	hook := newRunner(1)
	hook.Job.Installation = 0
	if _, _, err := f.Register(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	g.see(func() { g.installed["octo/repo"], g.removed, g.life = 78, "77", time.Hour })
	hook.Name.Attempt++
	if _, _, err := f.Register(t.Context(), hook); err == nil {
		t.Fatal("a token of an installation that is gone was accepted")
	}
	if _, _, err := f.Register(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	if calls := g.sent(); !slices.Contains(calls, "POST /app/installations/78/access_tokens") {
		t.Errorf("the new installation was not asked: %v", calls)
	}
}
