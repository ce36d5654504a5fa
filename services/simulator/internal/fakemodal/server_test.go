package fakemodal_test

import (
	"bytes"
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
)

func TestOptionsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options fakemodal.Options
		want    []string
	}{
		{name: "credentials are required", want: []string{`token id: must not be empty (got "")`, "token secret: must not be empty"}},
		{
			name: "every mistake is reported at once",
			options: fakemodal.Options{
				TokenID: "a", TokenSecret: "b", TokenTTL: time.Millisecond, PageSize: -1, OutputLimit: -2, ImageBuildTime: -3,
				SchedulingLatency: -4, Limits: sandbox.Limits{MaxSandboxes: -5, CreatesPerSecondV1: -6, CreatesPerSecondV2: -7},
			},
			want: []string{
				"token ttl: must be at least 1s (got 1ms)", "page size: must be positive (got -1)", "output limit: must be positive (got -2)",
				"image build time: must not be negative (got -3ns)", "scheduling latency: must not be negative (got -4ns)",
				"max_sandboxes: must not be negative (got -5)", "creates_per_second_v1: must not be negative (got -6)",
				"creates_per_second_v2: must not be negative (got -7)",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := fakemodal.New(tt.options)
			want := "options of the simulated Modal: " + strings.Join(tt.want, "\n")
			if err == nil || err.Error() != want {
				t.Errorf("error:\n%v\nwant:\n%s", err, want)
			}
		})
	}
}

func TestEveryCallIsAuthenticated(t *testing.T) {
	r := newRig(t, fakemodal.Options{TokenTTL: time.Hour})
	for _, tt := range []struct {
		name   string
		change func(*modal.ClientParams)
		want   codes.Code
	}{
		{name: "the right credentials are accepted", want: codes.OK},
		{name: "another token id is refused", change: func(p *modal.ClientParams) { p.TokenID = "ak-other" }, want: codes.Unauthenticated},
		{name: "another token secret is refused", change: func(p *modal.ClientParams) { p.TokenSecret = "as-other" }, want: codes.Unauthenticated},
		{name: "another token from AuthTokenGet is refused", want: codes.Unauthenticated, change: func(p *modal.ClientParams) {
			p.GRPCUnaryInterceptors = append(p.GRPCUnaryInterceptors, func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				md, _ := metadata.FromOutgoingContext(ctx)
				md.Set("x-modal-auth-token", "e30.e30.e30")
				return next(metadata.NewOutgoingContext(ctx, md), method, req, reply, cc, opts...)
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := r.newClient(t, tt.change)
			_, err := client.Apps.FromName(r.context(t), "runners", nil)
			if got := status.Code(err); got != tt.want {
				t.Errorf("code %v (%v), want %v", got, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), tokenSecret) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestControlHandler(t *testing.T) {
	r := newRig(t, fakemodal.Options{})
	s := r.create(t, modal.SandboxCreateParams{Name: "shown", Env: map[string]string{"KEY": tokenSecret}, Command: []string{"true"}})
	r.wait(t, s)
	control := r.ControlHandler()
	for _, tt := range []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{name: "sandboxes are shown", method: "GET", path: "/sandboxes", code: 200, want: `"name":"shown","env_keys":["KEY"],"status":"success"`},
		{name: "builds are counted", method: "GET", path: "/sandboxes", code: 200, want: `"image_builds":1`},
		{name: "limits are replaced", method: "PUT", path: "/options", body: `{"max_sandboxes":1,"creates_per_second_v2":2.5}`, code: 200, want: `"max_sandboxes":1`},
		{name: "limits in force are shown", method: "GET", path: "/options", code: 200, want: `{"max_sandboxes":1,"creates_per_second_v1":0,"creates_per_second_v2":2.5}`},
		{name: "a negative limit is refused", method: "PUT", path: "/options", body: `{"max_sandboxes":-1}`, code: 400, want: `options: max_sandboxes: must not be negative (got -1)`},
		{name: "an unknown option is refused", method: "PUT", path: "/options", body: `{"max":1}`, code: 400, want: `unknown field \"max\"`},
		{name: "broken JSON is refused", method: "PUT", path: "/options", body: `{`, code: 400, want: `options: unexpected EOF`},
		{name: "an endless body is refused", method: "PUT", path: "/options", body: `{"max_sandboxes":` + strings.Repeat(" ", 1<<17), code: 400, want: "too large"},
		{name: "sandboxes cannot be posted", method: "POST", path: "/sandboxes", code: 405, want: "Method Not Allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			control.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body)))
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%d %s, want %d with %s", w.Code, w.Body, tt.code, tt.want)
			}
			if bytes.Contains(w.Body.Bytes(), []byte(tokenSecret)) {
				t.Error("the answer shows the value of a variable")
			}
		})
	}
	if _, err := r.client.Sandboxes.Create(r.context(t), r.app, r.image, &modal.SandboxCreateParams{Command: []string{"sleep", "600"}}); err != nil {
		t.Fatalf("create below the limit: %v", err)
	}
	if _, err := r.client.Sandboxes.Create(r.context(t), r.app, r.image, nil); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("create at the limit: %v, want RESOURCE_EXHAUSTED", err)
	}
}
