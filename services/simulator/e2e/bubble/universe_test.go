package bubble_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/simulator/internal/check"
	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/fakegithub/ratelimit"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// Addresses of loopback, so that Modal's SDK speaks plaintext and nobody asks a proxy.
const (
	githubAddr = "127.0.0.1:8001"
	modalAddr  = "127.0.0.1:8002"
)

const (
	appID         = 4711
	secondAppID   = 4712
	webhookSecret = "It's a Secret to Everybody"
	modalID       = "ak-bubble"
	modalSecret   = "as-bubble"
)

func TestMain(m *testing.M) {
	// A bubble's timer that is due when it is made, as those of bufconn's pipes are, runs where it is made. With two processors two of them run at once
	// in the one thread that the race detector has for a bubble's timers, and it crashes (as in https://go.dev/issue/78156). A run takes no longer with one.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400) // A quarter of a long run's time went into collecting a heap of a few dozen MB.
	for name, value := range map[string]string{"MODAL_SERVER_URL": "http://" + modalAddr, "MODAL_CONFIG_PATH": os.DevNull} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	dialInMemory()
	natstest.Main(m)
}

type key struct {
	private *rsa.PrivateKey
	pem     string
}

// appKey is made once, outside of the bubbles.
var appKey = sync.OnceValue(func() key {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}
	return key{private, string(pem.EncodeToMemory(block))}
})

// options of a universe.
type options struct {
	seed             uint64
	workers, ingress int
	// twoHooks gives one repository a webhook of its own; skew sets the clocks of the workers minutes apart.
	twoHooks, skew bool
	// calm says that nothing is to go wrong, so that the judge is stricter.
	calm bool
	// org registers runners at the organization, where a repository that the App can't see may take them.
	org bool
	// twoApps installs a second App, which has no webhook.
	twoApps bool
	// warm is how many sandboxes wait for a runner.
	warm int
	// perHour is how many requests an hour GitHub grants each installation; zero for the 5,000 that it grants most.
	perHour int
}

// universe is everything in one bubble.
type universe struct {
	t         *testing.T
	options   options
	story     *story
	network   *network
	broker    *natstest.Server // its data stay while it is down
	balancer  *balancer
	faults    *fault.Injector
	github    *fakegithub.GitHub
	modal     *fakemodal.Server
	boxes     *boxes
	service   *service
	workers   []*node
	ingresses []*node

	witness   *witness
	judge     *nats.Conn
	js        jetstream.JetStream
	checker   *check.Checker
	agenda    *agenda
	exercised map[string]int
	pools     string               // the pools file; empty if there is none
	outages   map[string]time.Time // by what is out, since when nobody could have kept a deadline

	processes sync.WaitGroup // of the nodes
	servers   sync.WaitGroup
	api       *http.Server
}

// begin makes a universe in which all is well. It ends with the test.
func begin(t *testing.T, o options) *universe {
	t.Helper()
	u := &universe{
		t: t, options: o, story: newStory(t), network: newNetwork(), balancer: newBalancer(), agenda: newAgenda(),
		exercised: map[string]int{}, outages: map[string]time.Time{},
	}
	u.broker = natstest.Start(t, natstest.InProcess)
	t.Cleanup(u.end)
	current.Store(u.network)
	u.keepWarm(o.warm)
	u.service = newService(u.network)
	u.boxes = newBoxes(o.seed, u.service)
	u.serveGitHub()
	u.serveModal()
	u.watch()
	for n := range o.ingress {
		u.ingresses = append(u.ingresses, u.newIngress(n+1))
	}
	for n := range o.workers {
		u.workers = append(u.workers, u.newWorker(n+1))
	}
	for _, n := range append(u.ingresses, u.workers...) {
		n.start(softStop)
	}
	const url = "http://ingress/webhooks/github"
	u.github.AddAppHook(url, webhookSecret)
	if o.twoHooks {
		if _, err := u.github.AddRepoHook("acme", "lib", url, webhookSecret); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

// hidden is a repository that the App is not installed for.
const hidden = "hidden"

const softStop = "30s"

func (u *universe) serveGitHub() {
	u.t.Helper()
	u.witness = &witness{
		next:     &http.Transport{DialContext: u.balancer.dial, DisableKeepAlives: true},
		accepted: map[int64]time.Time{},
	}
	gh, err := fakegithub.New(fakegithub.Options{
		Seed: u.options.seed, AppID: appID, AppKey: &appKey().private.PublicKey,
		MoreApps:  map[int64]*rsa.PublicKey{secondAppID: &appKey().private.PublicKey},
		Transport: u.witness, Limits: ratelimit.Limits{PerHour: u.options.perHour},
	})
	if err != nil {
		u.t.Fatal(err)
	}
	u.github, u.faults = gh, gh.Faults
	lis, err := u.network.listen(u.t.Context(), githubAddr)
	if err != nil {
		u.t.Fatal(err)
	}
	u.api = &http.Server{Handler: gh, ReadHeaderTimeout: time.Minute}
	u.servers.Go(func() {
		if err := u.api.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			u.t.Errorf("serve GitHub: %v", err)
		}
	})
	_, err = gh.World.AddOwner("acme", true)
	for _, name := range []string{"app", "lib", hidden} {
		_, addErr := gh.World.AddRepo("acme", name, true)
		err = errors.Join(err, addErr)
	}
	_, installErr := gh.World.Install("acme", "app", "lib")
	err = errors.Join(err, installErr)
	if u.options.twoApps {
		_, installErr := gh.World.InstallApp(secondAppID, "acme", "app", "lib")
		err = errors.Join(err, installErr)
	}
	if err != nil {
		u.t.Fatal(err)
	}
}

func (u *universe) serveModal() {
	u.t.Helper()
	m, err := fakemodal.New(fakemodal.Options{
		TokenID: modalID, TokenSecret: modalSecret, ImageBuildTime: 20 * time.Second, SchedulingLatency: time.Second,
		Executor: u.boxes, Faults: u.faults, TokenTTL: 24 * time.Hour,
	})
	if err != nil {
		u.t.Fatal(err)
	}
	u.modal = m
	lis, err := u.network.listen(u.t.Context(), modalAddr)
	if err != nil {
		u.t.Fatal(err)
	}
	u.servers.Go(func() {
		if err := m.Serve(lis); err != nil {
			u.t.Error(err)
		}
	})
}

// end stops everything. Whatever goroutine is left then, synctest reports.
func (u *universe) end() {
	for _, n := range append(u.workers, u.ingresses...) {
		n.terminate()
	}
	u.processes.Wait()
	u.modal.Stop()
	u.github.Close()
	if err := u.api.Close(); err != nil {
		u.t.Error(err)
	}
	u.service.client.CloseIdleConnections()
	u.servers.Wait()
	u.judge.Close()
	u.broker.Stop()
	current.Store(nil)
	u.story.close(u.t)
}

// keepWarm has so many sandboxes wait for a runner from now on.
func (u *universe) keepWarm(count int) {
	u.t.Helper()
	if u.pools == "" && count == 0 {
		return
	}
	if u.pools == "" {
		u.pools = filepath.Join(u.t.TempDir(), "pools.yaml")
	}
	file := fmt.Sprintf("pools: {default: {labels: [modal], warm: {count: %d}}}", count)
	if err := os.WriteFile(u.pools, []byte(file), 0o600); err != nil {
		u.t.Fatal(err)
	}
}

// dispatch starts a workflow.
func (u *universe) dispatch(repo string, jobs ...world.JobSpec) (world.Run, []world.Job) {
	u.t.Helper()
	run, made, err := u.github.World.Dispatch(world.Workflow{Repo: repo, Jobs: jobs})
	if err != nil {
		u.t.Fatal(err)
	}
	return run, made
}
