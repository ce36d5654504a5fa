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
	// askAgain is how soon servers are asked again of which none has ever answered, unless the connection is another one by then: where
	// they may not be asked, each question is an error in the log.
	askAgain = time.Hour
)

// risks are what could lose what the server has acknowledged.
type risks struct {
	GuardOptions

	gauge *prometheus.GaugeVec
	used  used

	mu         sync.Mutex
	unanswered time.Time // when they were last asked, if none has answered on this connection
	answered   bool      // whether one has, on this connection
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
	r := &risks{GuardOptions: o, used: newUsed(), gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "nats_at_risk",
		Help: "What could lose acknowledged messages: servers known to write to disk after they acknowledge (sync_interval), " +
			"streams and buckets on fewer servers than NATS_REPLICAS (replicas).",
	}, []string{"cause"})}
	for _, cause := range []string{riskSync, riskReplicas} {
		r.gauge.WithLabelValues(cause).Set(0)
	}
	if err := errors.Join(o.Registry.Register(r.gauge), o.Registry.Register(r.used.gauge)); err != nil {
		return nil, fmt.Errorf("register metrics of the topology: %w", err)
	}
	return r, nil
}

// look looks for risks, does away with those that it may, and warns of the others when they are not those of the last time.
func (r *risks) look(ctx context.Context, t wire.Topology) {
	r.mu.Lock() // The guard may be asked to look again while it looks.
	defer r.mu.Unlock()
	few := r.replicate(ctx, t)
	if r.AddReplicas {
		r.used.account(ctx, r.JS)
	}
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
		r.used.stream(stream.CachedInfo())
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

// ask asks the servers which of them write to disk after they acknowledge, and how full they are. Where the account may not ask, or
// nobody answers, none does as far as is known.
func (r *risks) ask(ctx context.Context) {
	conn := r.JS.Conn()
	reconnects := conn.Stats().Reconnects
	same := reconnects == r.reconnects
	if same && time.Since(r.unanswered) < askAgain {
		return
	}
	r.reconnects = reconnects
	answers, err := askAll(ctx, conn)
	switch {
	case len(answers) > 0:
		r.unanswered, r.answered = time.Time{}, true
	case !same || !r.answered:
		r.unanswered, r.answered = time.Now(), false
	}
	if err != nil {
		return
	}
	r.unsynced = nil
	for _, a := range answers {
		if !a.Data.Config.SyncAlways {
			r.unsynced = append(r.unsynced, a.Server.Name)
		}
	}
	r.used.servers(answers)
}

// serverAnswer is what a server with JetStream says of itself.
type serverAnswer struct {
	Server struct {
		Name string `json:"name"`
	} `json:"server"`
	Data *struct {
		Disabled bool   `json:"disabled"`
		Storage  uint64 `json:"storage"` // in bytes, of files
		Config   struct {
			SyncAlways bool  `json:"sync_always"`
			MaxStorage int64 `json:"max_storage"`
		} `json:"config"`
	} `json:"data"`
}

// askAll returns the answers of the servers with JetStream.
func askAll(ctx context.Context, conn *nats.Conn) (said []serverAnswer, err error) {
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
			return said, nil
		case err != nil:
			return nil, err
		}
		var answer serverAnswer
		if err := json.Unmarshal(msg.Data, &answer); err != nil || answer.Data == nil || answer.Data.Disabled {
			continue // It has no JetStream, or says something else than it was asked for.
		}
		said = append(said, answer)
	}
}
