package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Run answers until ctx ends, then stops in order: not ready, the drain delay, no new connections, the requests at work
// answered, NATS drained, traces flushed, the admin listener closed. It returns nil after such a stop, and an error if the
// public listener failed or something could not end in time. It must be called once.
func (a *App) Run(ctx context.Context) error {
	log := a.options.Logger
	a.serving = true
	a.probes.Serve(a.admin)
	ended := make(chan error, 1)
	go func() { ended <- a.server.Serve(a.public) }()
	a.stack.Push("public server", a.shutdown)
	log.InfoContext(ctx, "ingress started", slog.String("addr", a.Addr()), slog.String("admin_addr", a.AdminAddr()))
	var failure error
	select {
	case <-ctx.Done():
		log.InfoContext(ctx, "ingress stopping", slog.Any("cause", context.Cause(ctx)))
		a.probes.Drain()
		<-time.After(a.options.Config.DrainDelay)
	case err := <-ended:
		failure = fmt.Errorf("serve webhooks: %w", err)
		a.probes.Drain()
	}
	failure = errors.Join(failure, a.stack.Stop(context.WithoutCancel(ctx)))
	log.InfoContext(ctx, "ingress stopped")
	return failure
}

// shutdown waits for the requests at work, and cuts those that take too long.
func (a *App) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		return errors.Join(err, a.server.Close())
	}
	return nil
}

// closePublic closes the public listener, unless its server has.
func (a *App) closePublic(context.Context) error {
	if err := a.public.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (a *App) closeAdmin(ctx context.Context) error {
	if a.serving {
		return a.probes.Shutdown(ctx)
	}
	return a.admin.Close()
}
