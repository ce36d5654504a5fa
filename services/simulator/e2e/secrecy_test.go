package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/simulator/internal/demo"
	"modal-github-runner/services/simulator/internal/demo/process"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
	"modal-github-runner/services/simulator/internal/fault"
)

// TestNoSecretIsKeptLoggedOrShown runs a workload with failures, since errors are what talks most, and looks for every
// secret that went through the system in all that it leaves: logs, messages, stored data, metrics, arguments.
func TestNoSecretIsKeptLoggedOrShown(t *testing.T) {
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Skip("needs /proc to read the arguments of processes")
	}
	var issued recorder
	traces := newCollector(t)
	pools := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(pools, []byte("pools:\n  cpu: {labels: [modal], warm: {count: 3}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, rig.Options{Workers: 2, Env: append(traces.env(), "LOG_LEVEL=debug", "POOLS_FILE="+pools), Via: issued.proxy(t)})
	within(t, soon, "sandboxes wait", func(ctx context.Context) bool {
		return slices.ContainsFunc(s.AdminURLs(), func(admin string) bool {
			return strings.Contains(getURL(ctx, t, admin+"/metrics").body, `worker_warm_sandboxes{pool="cpu"} 3`)
		})
	})
	faults := []fault.Rule{
		{Op: "github.generate-jitconfig", Error: "502", Times: 2, After: true},
		{Op: "github.generate-jitconfig", Error: "404", Times: 1},
		{Op: "github.access-tokens", Error: "500", Times: 1},
		{Op: "modal.SandboxCreateV2", Error: "UNAVAILABLE", Times: 9},
		{Op: "modal.TaskExecStdioRead", Error: "PERMISSION_DENIED", Times: 2},
	}
	if err := s.Simulator.SetFaults(t.Context(), faults...); err != nil {
		t.Fatal(err)
	}
	var arguments, metrics []byte
	const unserved = 1 // 404 is permanent: that job becomes a dead letter, which is looked through as well
	const jobs = 8
	for _, d := range workload.Plan(workload.Options{Jobs: jobs, Fail: 1}) {
		if err := s.Simulator.Dispatch(t.Context(), d.Workflow); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all jobs but one end", func(ctx context.Context) bool {
		now, err := demo.Observe(ctx, s.Rig)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []*process.Process{s.Ingress(0), s.Worker(0), s.Worker(1)} {
			arguments = append(arguments, readFile(t, fmt.Sprintf("/proc/%d/cmdline", p.PID()))...)
		}
		return now.Counts().Done() >= jobs-unserved // That job may still get a runner that another one does not need.
	})
	for _, admin := range s.AdminURLs() {
		metrics = append(metrics, getURL(t.Context(), t, admin+"/metrics").body...)
	}
	evidence := map[string][]byte{"arguments": arguments, "metrics": metrics, "messages": s.messages(), "traces": traces.all()}
	logs := s.files()
	evidence["the logs of the workers"] = slices.Concat(logs["worker-1.log"], logs["worker-2.log"])
	maps.Copy(evidence, logs)
	// What the search relies on must be there, or it finds nothing for a wrong reason.
	for name, want := range map[string]string{
		"arguments": "worker", "metrics": `outcome="warm"`, "messages": "dead.jobs.", "the logs of the workers": "runner not launched", "ingress-1.log": "webhook answered",
		"traces": "generate-jitconfig: 404",
	} {
		if !bytes.Contains(evidence[name], []byte(want)) {
			t.Errorf("%s do not contain %q", name, want)
		}
	}
	canaries := s.canaries(issued.all())
	for what, canary := range canaries {
		for name, content := range evidence {
			if bytes.Contains(content, []byte(canary)) {
				t.Errorf("%s is in %s", what, name)
			}
		}
	}
	if len(canaries) < 2*jobs {
		t.Errorf("only %d secrets were looked for", len(canaries))
	}
}

// canaries are the secrets, in the forms in which they could show up: as they are and in base64.
func (s *system) canaries(issued []string) map[string]string {
	s.t.Helper()
	secrets := map[string]string{
		"the webhook's secret": s.Secrets.Webhook, "the Modal token's secret": s.Secrets.ModalTokenSecret,
	}
	for n, line := range strings.Split(s.Secrets.AppKey, "\n") {
		if len(line) > 40 && !strings.HasPrefix(line, "-") { // the last line may be short enough to occur by chance
			secrets[fmt.Sprintf("line %d of the App's key", n)] = line
		}
	}
	for n, secret := range issued {
		secrets[fmt.Sprintf("secret %d that GitHub issued", n)] = secret
	}
	all := map[string]string{}
	for what, secret := range secrets {
		all[what] = secret
		all[what+" in base64"] = strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "=")
	}
	return all
}

// messages are all that lies in NATS, key-value buckets included, with subjects and headers.
func (s *system) messages() []byte {
	s.t.Helper()
	var all bytes.Buffer
	for _, m := range s.stored() {
		fmt.Fprintf(&all, "%s %v %s\n", m.Subject, m.Header, m.Data)
	}
	return all.Bytes()
}

// stored are the messages of all streams, those of key-value buckets among them.
func (s *system) stored() []*jetstream.RawStreamMsg {
	s.t.Helper()
	conn, err := nats.Connect(s.NATSURL())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	streams := js.ListStreams(s.t.Context())
	for info := range streams.Info() {
		stream, err := js.Stream(s.t.Context(), info.Config.Name)
		if err != nil {
			s.t.Fatal(err)
		}
		for seq := max(1, info.State.FirstSeq); seq <= info.State.LastSeq; seq++ {
			m, err := stream.GetMsg(s.t.Context(), seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue // replaced by a later one
			}
			if err != nil {
				s.t.Fatal(err)
			}
			all = append(all, m)
		}
	}
	if err := streams.Err(); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// files are the logs, and what nats-server stored, messages among it that were replaced or removed since.
func (s *system) files() map[string][]byte {
	s.t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(s.Dir(), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server removes what it needs no longer
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.Dir(), path)
		if err != nil {
			return err
		}
		if top, _, _ := strings.Cut(name, string(filepath.Separator)); entry.Type().IsRegular() && (top == "jetstream" || filepath.Ext(name) == ".log") {
			found[name] = readFile(s.t, path)
		}
		if entry.IsDir() && strings.HasPrefix(name, "simulator-") {
			return fs.SkipDir // the sandboxes, which come and go
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// recorder keeps the secrets that GitHub issues.
type recorder struct {
	mu      sync.Mutex
	secrets []string
}

// proxy returns the rig's option that puts the recorder between the workers and GitHub.
func (r *recorder) proxy(t *testing.T) func(rig.Link, string) string {
	return func(l rig.Link, to string) string {
		if l.To != rig.ToGitHub {
			return to
		}
		target, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{}
		server := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }, ModifyResponse: r.record, Transport: transport,
		})
		t.Cleanup(func() { server.Close(); transport.CloseIdleConnections() })
		return server.URL
	}
}

func (r *recorder) record(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var issued struct {
		Token string `json:"token"`
		JIT   []byte `json:"encoded_jit_config"` // base64, which encoding/json decodes
	}
	if json.Unmarshal(body, &issued) != nil {
		return nil // a list, or a download
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if issued.Token != "" {
		r.secrets = append(r.secrets, issued.Token)
	}
	if issued.JIT == nil {
		return nil
	}
	r.secrets = append(r.secrets, base64.StdEncoding.EncodeToString(issued.JIT))
	var files map[string][]byte
	if err := json.Unmarshal(issued.JIT, &files); err != nil {
		return err
	}
	var key struct{ D string }
	if err := json.Unmarshal(files[".credentials_rsaparams"], &key); err != nil {
		return err
	}
	r.secrets = append(r.secrets, key.D)
	return nil
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.secrets)
}
