package natsx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/wire"
)

const (
	// askServers is a request that every server answers with its JetStream configuration. It belongs to the system account, which
	// deployments/nats lends to the services'; elsewhere nobody answers.
	askServers = "$SYS.REQ.SERVER.PING.JSZ"
	// lastAnswer is how long no further answer comes before all are taken to have come.
	lastAnswer = 500 * time.Millisecond
	// askEvery is how often servers are asked, beside after each reconnect. What they say changes with their restart only.
	askEvery = time.Hour
)

// risks are what could lose what the server has acknowledged.
type risks struct {
	GuardOptions

	gauge *prometheus.GaugeVec

	mu         sync.Mutex
	asked      time.Time
	reconnects uint64
	unsynced   []string // the servers that said so when they were last asked
	said       string   // what the last warning was about
}

// The causes, values of the label of that name.
const (
	riskSync     = "sync_interval"
	riskReplicas = "replicas"
)

func newRisks(o GuardOptions) (*risks, error) {
	r := &risks{GuardOptions: o, gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "nats_at_risk",
		Help: "What could lose acknowledged messages: servers known to write to disk after they acknowledge (sync_interval), " +
			"streams and buckets on fewer servers than NATS_REPLICAS (replicas).",
	}, []string{"cause"})}
	for _, cause := range []string{riskSync, riskReplicas} {
		r.gauge.WithLabelValues(cause).Set(0)
	}
	if err := o.Registry.Register(r.gauge); err != nil {
		return nil, fmt.Errorf("register metrics of the topology: %w", err)
	}
	return r, nil
}

// look looks for risks, does away with those that it may, and warns of the others when they are not those of the last time.
func (r *risks) look(ctx context.Context, t wire.Topology) {
	r.mu.Lock() // The guard may be asked to look again while it looks.
	defer r.mu.Unlock()
	few := r.replicate(ctx, t)
	r.ask(ctx)
	r.gauge.WithLabelValues(riskReplicas).Set(float64(len(few)))
	r.gauge.WithLabelValues(riskSync).Set(float64(len(r.unsynced)))
	found := few
	if len(r.unsynced) > 0 {
		found = append(found, "sync_interval must be always on "+strings.Join(r.unsynced, ", "))
	}
	if said := strings.Join(found, "; "); ctx.Err() == nil && said != r.said {
		r.said = said
		if said == "" {
			r.Log.InfoContext(ctx, "what is acknowledged is safe")
			return
		}
		r.Log.WarnContext(ctx, "what is acknowledged could be lost", slog.String("risk", said))
	}
}

// replicate returns what lies on fewer servers than it should. It takes nothing off a server: two services that were told
// different numbers, as while one of them is replaced, would do so in turn.
func (r *risks) replicate(ctx context.Context, t wire.Topology) (few []string) {
	var names []string
	for _, s := range t.Streams {
		names = append(names, s.Name)
	}
	for _, b := range t.Buckets {
		names = append(names, streamOfBucket+b.Name)
	}
	for _, name := range names {
		stream, err := r.JS.Stream(ctx, name)
		if err != nil { // The next round tells.
			continue
		}
		have := stream.CachedInfo().Config
		if have.Replicas >= t.Replicas {
			continue
		}
		was := have.Replicas
		have.Replicas = t.Replicas
		err = errNoRight
		if r.AddReplicas {
			_, err = r.JS.UpdateStream(ctx, have)
		}
		if err != nil {
			few = append(few, fmt.Sprintf("stream %s: replicas must be %d (got %d): %v", name, t.Replicas, was, err))
			continue
		}
		r.Log.InfoContext(ctx, "stream is put on more servers", slog.String("stream", name), slog.Int("replicas", t.Replicas))
	}
	return few
}

var errNoRight = errors.New("a worker adds them")

// ask asks the servers, if that is due, which of them write to disk after they acknowledge. Where the account may not ask, or
// nobody answers, none does as far as is known.
func (r *risks) ask(ctx context.Context) {
	conn := r.JS.Conn()
	reconnects := conn.Stats().Reconnects
	if time.Since(r.asked) < askEvery && reconnects == r.reconnects {
		return
	}
	r.asked, r.reconnects = time.Now(), reconnects
	unsynced, err := unsyncedServers(ctx, conn)
	if err == nil {
		r.unsynced = unsynced
	}
}

// unsyncedServers names the servers of those that answer.
func unsyncedServers(ctx context.Context, conn *nats.Conn) (names []string, err error) {
	inbox := conn.NewInbox()
	answers, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, answers.Unsubscribe()) }()
	if err := conn.PublishRequest(askServers, inbox, nil); err != nil {
		return nil, err
	}
	for {
		next, cancel := context.WithTimeout(ctx, lastAnswer)
		msg, err := answers.NextMsgWithContext(next)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil, errors.Is(err, nats.ErrNoResponders):
			return names, nil
		case err != nil:
			return nil, err
		}
		var answer struct {
			Server struct {
				Name string `json:"name"`
			} `json:"server"`
			Data *struct {
				Disabled bool `json:"disabled"`
				Config   struct {
					SyncAlways bool `json:"sync_always"`
				} `json:"config"`
			} `json:"data"`
		}
		if err := json.Unmarshal(msg.Data, &answer); err != nil || answer.Data == nil || answer.Data.Disabled {
			continue // It has no JetStream, or says something else than it was asked for.
		}
		if !answer.Data.Config.SyncAlways {
			names = append(names, answer.Server.Name)
		}
	}
}
