package natsx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// reconnectWait and its jitter keep a fleet from reconnecting in step, and are short next to the 5 s that a
	// publisher waits.
	reconnectWait   = 500 * time.Millisecond
	reconnectJitter = 500 * time.Millisecond
	dialTimeout     = 3 * time.Second
	// pingInterval times maxPingsOut is how long a silently dead connection goes unnoticed.
	pingInterval = 10 * time.Second
	maxPingsOut  = 2
	// maxReasons is how many reasons an outage has in the log: some have the port of the attempt in them.
	maxReasons = 8
	// noBuffer makes a publish fail at once while there is no connection, instead of being sent later.
	noBuffer = -1
)

// Options is the program's part of a connection.
type Options struct {
	// Name is the program's, as the server's list of connections shows it. Answers come to subjects below _INBOX_ and it, so that
	// a server can keep each program from hearing answers to others.
	Name     string
	Logger   *slog.Logger
	Registry prometheus.Registerer // gets nats_connected and nats_reconnects_total
	Extra    []nats.Option         // applied last; tests connect in process by it
}

// Connect returns a connection that tries for ever to be connected, and need not be yet. It fails only for a
// configuration that can't work, such as an unreadable file. Credentials are read again for every attempt, so they rotate
// without a restart. The caller ends it with [Drain].
func Connect(cfg Config, o Options) (*nats.Conn, error) {
	options := append(reconnectForever(o), logChanges(o.Logger)...)
	options = append(options, nats.CustomInboxPrefix("_INBOX_"+o.Name))
	if cfg.CredsFile != "" {
		options = append(options, nats.UserCredentials(cfg.CredsFile))
	}
	if cfg.User != "" {
		options = append(options, nats.UserInfoHandler(func() (string, string) {
			return cfg.User, cfg.Password.Get().Reveal()
		}))
	}
	if cfg.NKeyFile != "" {
		nkey, err := nats.NkeyOptionFromSeed(cfg.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		options = append(options, nkey)
	}
	if cfg.CAFile != "" {
		options = append(options, nats.RootCAs(cfg.CAFile))
	}
	conn, err := nats.Connect("", append(append(options, servers(cfg.URL)), o.Extra...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if err := registerMetrics(o.Registry, conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Connected reports [ErrNotConnected] unless conn is connected now. It asks nobody, so it suits a readiness check.
func Connected(conn *nats.Conn) func(context.Context) error {
	return func(context.Context) error {
		if !conn.IsConnected() {
			return notConnected(conn)
		}
		return nil
	}
}

// Drain lets conn finish what it has begun, and closes it when that is done or ctx ends. A connection that is down is
// closed at once.
func Drain(ctx context.Context, conn *nats.Conn) error {
	closed := conn.StatusChanged(nats.CLOSED)
	defer conn.RemoveStatusListener(closed)
	if !conn.IsConnected() || conn.Drain() != nil {
		conn.Close()
		return nil
	}
	if conn.IsClosed() {
		return nil
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		conn.Close()
		return fmt.Errorf("drain NATS connection: %w", ctx.Err())
	}
}

// servers is the list that the client would make of its first argument at the commas: a password may have one.
func servers(urls []*url.URL) nats.Option {
	return func(o *nats.Options) error {
		o.Servers = make([]string, 0, len(urls))
		for _, u := range urls {
			o.Servers = append(o.Servers, u.String())
		}
		return nil
	}
}

func reconnectForever(o Options) []nats.Option {
	return []nats.Option{
		nats.Name(o.Name),
		nats.Timeout(dialTimeout),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.ReconnectBufSize(noBuffer),
		// Without it two refused logins end the connection for good; an operator who corrects the server's users would
		// have to restart every service.
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
	}
}

// logChanges logs when the state changes, not at every attempt: an outage is two lines and one for each reason, however long it is.
func logChanges(log *slog.Logger) []nats.Option {
	unreached := map[string]bool{} // The client calls its handlers one after the other.
	tell := func(err error) {
		if reason := err.Error(); !unreached[reason] && len(unreached) < maxReasons && !errors.Is(err, nats.ErrNoServers) { // No reason.
			unreached[reason] = true
			log.Warn("nats not reached", slog.String("err", reason))
		}
	}
	up := func(c *nats.Conn) {
		clear(unreached)
		// By its address: the client's own redaction hides passwords, but not a token.
		log.Info("nats connected", slog.String("server", c.ConnectedAddr()))
	}
	return []nats.Option{
		nats.ConnectHandler(up),
		nats.ReconnectHandler(up),
		nats.DisconnectErrHandler(func(c *nats.Conn, err error) {
			if !c.IsClosed() { // A stop of our own is no news.
				log.Warn("nats disconnected", slog.Any("err", err))
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { tell(err) }),
		nats.ErrorHandler(func(c *nats.Conn, _ *nats.Subscription, err error) {
			if !c.IsConnected() { // A login that is refused, at every attempt.
				tell(err)
				return
			}
			log.Error("nats reported an error", slog.Any("err", err))
		}),
	}
}

func registerMetrics(registry prometheus.Registerer, conn *nats.Conn) error {
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nats_connected", Help: "Whether the connection to NATS is up (1) or not (0).",
	}, func() float64 {
		if conn.IsConnected() {
			return 1
		}
		return 0
	})
	reconnects := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "nats_reconnects_total", Help: "How often the connection to NATS came up after it was lost or could not be made.",
	}, func() float64 { return float64(conn.Stats().Reconnects) })
	for _, metric := range []prometheus.Collector{connected, reconnects} {
		if err := registry.Register(metric); err != nil {
			return fmt.Errorf("register metrics of the NATS connection: %w", err)
		}
	}
	return nil
}
