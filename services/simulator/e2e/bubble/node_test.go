package bubble_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	ingress "modal-github-runner/services/ingress/app"
	"modal-github-runner/services/internal/obs"
	worker "modal-github-runner/services/worker/app"
)

// node is one ingress or worker and its links. It is started, and ended in one way or another, any number of times; each time
// it is another process.
type node struct {
	name  string
	start func(soft string) // begins a process that gives itself so long on SIGTERM
	nats  *link
	front *link // a worker's to GitHub; an ingress' from GitHub

	admin string // address of the admin listener of the last process
	stop  func() // SIGTERM; nil while it does not run
}

// terminate is SIGTERM. The process ends in its own time.
func (n *node) terminate() {
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

// kill is SIGKILL, as far as others can tell: in one moment it reaches nobody any more. What it has begun at Modal goes on.
func (n *node) kill() {
	n.nats.kill()
	n.front.kill()
	n.terminate()
}

// run gives the node a process.
func (u *universe) run(n *node, app func(context.Context) error) {
	u.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	u.processes.Go(func() {
		if err := app(ctx); err != nil {
			u.story.tellf("%s ended: %v", n.name, err)
		}
	})
}

func (u *universe) newWorker(number int) *node {
	n := &node{name: fmt.Sprintf("worker-%d", number)}
	life := 0
	n.start = func(soft string) {
		life++
		n.nats, n.front = newLink(), newLink()
		addr := fmt.Sprintf("%s-%d:9091", n.name, life)
		n.admin = addr
		scope := "repo"
		if u.options.org {
			scope = "org"
		}
		ids, keys := fmt.Sprint(appID), appKey().pem
		if u.options.twoApps {
			ids, keys = fmt.Sprintf("%d,%d", appID, secondAppID), appKey().pem+appKey().pem
		}
		cfg, _, err := worker.LoadConfig([]string{
			"WORKER_ADMIN_ADDR=" + addr, "WORKER_SOFT_STOP=" + soft, "MODAL_TOKEN_ID=" + modalID, "MODAL_TOKEN_SECRET=" + modalSecret,
			"GITHUB_APP_ID=" + ids, "GITHUB_APP_PRIVATE_KEY=" + keys, "GITHUB_API_URL=http://" + githubAddr,
			"MODAL_SERVER_URL=http://" + modalAddr, "INSECURE_DEV=1", "LOG_FORMAT=json", "RUNNER_SCOPE=" + scope, "POOLS_FILE=" + u.pools,
		})
		if err != nil {
			u.t.Fatal(err)
		}
		front := n.front
		a, err := worker.New(context.Background(), worker.Options{
			Config: cfg, Logger: obs.NewLogger(u.story.services(addr), cfg.Log, obs.ThisService(n.name)),
			NATS: []nats.Option{via(n.nats, u.broker)}, Listen: u.network.listen, Now: u.clock(number),
			DialGitHub: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return front.over(func() (net.Conn, error) { return u.network.dial(ctx, addr) })
			},
		})
		if err != nil {
			u.t.Fatal(err)
		}
		u.run(n, a.Run)
	}
	return n
}

// clockError is how far a worker's clock may be off.
const clockError = 2 * time.Minute

// clock is that of a worker. With skew, every other one goes ahead and the others behind.
func (u *universe) clock(number int) func() time.Time {
	if !u.options.skew {
		return nil
	}
	off := clockError
	if number%2 == 0 {
		off = -off
	}
	return func() time.Time { return time.Now().Add(off) }
}

func (u *universe) newIngress(number int) *node {
	n := &node{name: fmt.Sprintf("ingress-%d", number)}
	life := 0
	n.start = func(string) {
		life++
		n.nats, n.front = newLink(), newLink()
		host := fmt.Sprintf("%s-%d", n.name, life)
		addr := host + ":8080"
		cfg, _, err := ingress.LoadConfig([]string{
			"INGRESS_ADDR=" + addr, "INGRESS_ADMIN_ADDR=" + host + ":9090", "WEBHOOK_SECRET=" + webhookSecret, "LOG_FORMAT=json",
			"POOLS_FILE=" + u.pools,
		})
		if err != nil {
			u.t.Fatal(err)
		}
		a, err := ingress.New(context.Background(), ingress.Options{
			Config: cfg, Logger: obs.NewLogger(u.story.services(addr), cfg.Log, obs.ThisService(n.name)),
			NATS: []nats.Option{via(n.nats, u.broker)}, Listen: u.network.listen,
		})
		if err != nil {
			u.t.Fatal(err)
		}
		front := n.front
		u.balancer.add(n.name, func(ctx context.Context) (net.Conn, error) {
			return front.over(func() (net.Conn, error) { return u.network.dial(ctx, addr) })
		})
		u.run(n, a.Run)
	}
	return n
}

// balancer gives each webhook to the next ingress.
type balancer struct {
	mu    sync.Mutex
	names []string
	dials map[string]func(context.Context) (net.Conn, error)
	next  int
}

func newBalancer() *balancer {
	return &balancer{dials: map[string]func(context.Context) (net.Conn, error){}}
}

func (b *balancer) add(name string, dial func(context.Context) (net.Conn, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dials[name] == nil {
		b.names = append(b.names, name)
	}
	b.dials[name] = dial
}

// dial tries each ingress once, as a balancer does that has not noticed yet which are down.
func (b *balancer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	b.mu.Lock()
	names, first := b.names, b.next
	b.next++
	b.mu.Unlock()
	err := errRefused
	for n := range names {
		b.mu.Lock()
		dial := b.dials[names[(first+n)%len(names)]]
		b.mu.Unlock()
		var conn net.Conn
		if conn, err = dial(ctx); err == nil {
			return conn, nil
		}
	}
	return nil, err
}
