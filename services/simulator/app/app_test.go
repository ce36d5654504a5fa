package app_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/app"
	"modal-github-runner/services/simulator/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(t *testing.T) app.Options {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return app.Options{
		GitHubAddr: "127.0.0.1:0", ModalAddr: "127.0.0.1:0", ControlAddr: "127.0.0.1:0", AppID: 1, AppKey: &key.PublicKey,
		ModalTokenID: "ak-1", ModalTokenSecret: "as-1", Exe: "/nonexistent/simulator", Log: slog.New(slog.DiscardHandler),
	}
}

func TestItServesUntilItIsStopped(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	a, err := app.New(t.Context(), options(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for url, want := range map[string]int{
		a.GitHubURL() + "/repos/actions/runner/releases/latest":        http.StatusOK,
		a.GitHubURL() + "/api/v3/repos/actions/runner/releases/latest": http.StatusOK,
		a.ControlURL() + "/control/github/state":                       http.StatusOK,
		a.ControlURL() + "/control/modal/sandboxes":                    http.StatusOK,
		a.GitHubURL() + "/control/github/state":                        http.StatusNotFound, // the side door is elsewhere
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d; %v", url, resp.StatusCode, want, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	nothingIn(t, tmp)
}

func TestWhatCannotStartLeavesNothing(t *testing.T) {
	tests := []struct {
		name   string
		change func(*app.Options)
		want   string
	}{
		{"nobody can log in to GitHub", func(o *app.Options) { o.AppKey = nil }, "AppKey, Tokens: one of the two must be given"},
		{"nobody can log in to Modal", func(o *app.Options) { o.ModalTokenSecret = "" }, "token secret: must not be empty"},
		{"a fault is not possible", func(o *app.Options) { o.Faults = []fault.Rule{{Op: "x", Times: -1}} }, "faults: rule 0: times"},
		{"an address is not one", func(o *app.Options) { o.ModalAddr = "nowhere" }, "listen for Modal"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			o := options(t)
			tt.change(&o)
			if _, err := app.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			nothingIn(t, tmp)
		})
	}
}

func nothingIn(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}
