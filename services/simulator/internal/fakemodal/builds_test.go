package fakemodal_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	modal "github.com/modal-labs/modal-client/go"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"

	"modal-github-runner/services/simulator/internal/fakemodal"
)

// heard is what the builds that a client waits for say: the SDK keeps it to itself.
type heard struct {
	mu   sync.Mutex
	text string
}

func (h *heard) listen(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	return hearing{stream, h}, err
}

type hearing struct {
	grpc.ClientStream

	heard *heard
}

func (s hearing) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if said, ok := m.(*pb.ImageJoinStreamingResponse); ok && err == nil {
		s.heard.mu.Lock()
		defer s.heard.mu.Unlock()
		for _, entry := range said.GetTaskLogs() {
			s.heard.text += entry.GetData()
		}
	}
	return err
}

// objects asks the control API.
func (r *rig) objects(t *testing.T, body string) {
	t.Helper()
	answer := httptest.NewRecorder()
	r.ControlHandler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/objects", strings.NewReader(body)))
	if answer.Code != http.StatusOK {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
}

func TestABuildThatFailsSaysHow(t *testing.T) {
	r := newRig(t, fakemodal.Options{})
	said := &heard{}
	client := r.newClient(t, func(p *modal.ClientParams) { p.GRPCStreamInterceptors = []grpc.StreamClientInterceptor{said.listen} })
	build := func() (*modal.Image, error) {
		return client.Images.FromRegistry("debian:13", nil).DockerfileCommands([]string{"ENV A=b", "RUN make"}, nil).Build(r.context(t), r.app, nil)
	}
	r.objects(t, `{"failing_steps": {"RUN make": "make: no rule\n"}}`)
	if _, err := build(); err == nil || !strings.Contains(err.Error(), "a step exited with 1") {
		t.Errorf("got %v", err)
	}
	if want := "Step 1: FROM base\nStep 2: ENV A=b\nStep 3: RUN make\nmake: no rule\n"; said.text != want {
		t.Errorf("it said %q, want %q", said.text, want)
	}
	if all := r.Snapshot(); len(all.Images) != 1 || all.ImageBuilds != 2 {
		t.Errorf("%d builds, layers %v", all.ImageBuilds, all.Images)
	}
	r.objects(t, `{"failing_steps": {"RUN make": ""}}`)
	image, err := build()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"FROM base", "ENV A=b", "RUN make"}
	if all := r.Snapshot().Images; len(all) != 2 || all[1].ID != image.ImageID || all[1].Base != all[0].ID || !cmp.Equal(all[1].Dockerfile, want) {
		t.Errorf("layers %+v", all)
	}
}

func TestAPrivateRegistryNeedsItsSecret(t *testing.T) {
	r := newRig(t, fakemodal.Options{})
	r.objects(t, `{"registries": {"r.example": {"username": "u", "password": "p"}},
		"secrets": {"right": {"REGISTRY_USERNAME": "u", "REGISTRY_PASSWORD": "p"}, "wrong": {"REGISTRY_USERNAME": "u", "REGISTRY_PASSWORD": "x"}}}`)
	for name, test := range map[string]struct {
		image, secret string
		ok            bool
	}{
		"with its secret":                {"r.example/a:1", "right", true},
		"with another password":          {"r.example/a:1", "wrong", false},
		"without a secret":               {"r.example/a:1", "", false},
		"another registry needs none":    {"other.example/a:1", "", true},
		"a name that is like its host's": {"r.example:1", "", true},
	} {
		var params modal.ImageFromRegistryParams
		if test.secret != "" {
			secret, err := r.client.Secrets.FromName(r.context(t), test.secret, nil)
			if err != nil {
				t.Fatal(err)
			}
			params.Secret = secret
		}
		if _, err := r.client.Images.FromRegistry(test.image, &params).Build(r.context(t), r.app, nil); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
