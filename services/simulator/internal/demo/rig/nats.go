package rig

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"modal-github-runner/services/simulator/internal/demo/process"
)

const (
	// The port of NATS lies below those that systems give to outgoing connections (from 32768 on Linux, from 49152 by
	// IANA), so that nothing takes it while the server is stopped.
	firstPort, endPort = 20000, 32000
	portTries          = 100
)

var errNoPort = errors.New("no free port for nats-server")

// configureNATS writes the server's configuration. Sync at every write is what the services rely on: without it the
// server acknowledges what a power failure would lose.
func (r *Rig) configureNATS(ctx context.Context) (err error) {
	if r.natsPort, err = freePort(ctx); err != nil {
		return err
	}
	file := filepath.Join(r.options.Dir, "nats.conf")
	content := fmt.Sprintf("host: 127.0.0.1\nport: %d\njetstream {\n  store_dir: %q\n  sync_interval: always\n}\n",
		r.natsPort, filepath.Join(r.options.Dir, "jetstream"))
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return fmt.Errorf("configuration of nats-server: %w", err)
	}
	r.nats = &part{spec: process.Spec{
		Name: "nats-server", Path: filepath.Join(r.options.Bin, "nats-server"), Args: []string{"-c", file}, Dir: r.options.Dir,
		Env: []string{"HOME=" + r.options.Dir, "TMPDIR=" + r.options.Dir},
	}}
	return nil
}

func freePort(ctx context.Context) (int, error) {
	for range portTries {
		port := firstPort + rand.IntN(endPort-firstPort) //nolint:gosec // any port will do
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errNoPort
}

// NATSURL is the server's.
func (r *Rig) NATSURL() string { return "nats://127.0.0.1:" + strconv.Itoa(r.natsPort) }

// StartNATS starts the server, again on its port and with its data if it ran before.
func (r *Rig) StartNATS(ctx context.Context) error {
	_, err := r.nats.start(ctx, "Server is ready")
	return err
}

// NATS is the process of the server.
func (r *Rig) NATS() *process.Process { return r.nats.proc }

// StopNATS ends the server in good order.
func (r *Rig) StopNATS() error { return r.nats.proc.Stop(stopPatience) }
