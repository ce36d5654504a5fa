package natsx

import (
	"context"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// What may fill up, values of the label of that name, beside the names of streams that refuse more than so many bytes.
const (
	usedServer  = "server"
	usedAccount = "account"
)

// used tells how full what stores messages is, before it refuses them.
type used struct{ gauge *prometheus.GaugeVec }

func newUsed() used {
	return used{prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "nats_storage_used_ratio",
		Help: "How much of what may be stored is, from 0 to 1: by the fullest server, if servers may be asked; by the account, which only " +
			"workers ask about; by each stream that has a limit of its own. 0 without a limit.",
	}, []string{"of"})}
}

func (u used) set(of string, ratio float64) { u.gauge.WithLabelValues(of).Set(ratio) }

// servers takes what all servers said. Those that say nothing count for nothing.
func (u used) servers(answers []serverAnswer) {
	if len(answers) == 0 {
		u.gauge.DeleteLabelValues(usedServer)
		return
	}
	fullest := 0.0
	for _, a := range answers {
		fullest = max(fullest, ratio(a.Data.Storage, a.Data.Config.MaxStorage))
	}
	u.set(usedServer, fullest)
}

// account asks about the account's limits, of which there may be one for each number of replicas. Such a tier counts each replica, and may
// store its limit as often as it has replicas, as the server's wouldExceedLimits reckons.
func (u used) account(ctx context.Context, js jetstream.JetStream) {
	info, err := js.AccountInfo(ctx)
	if err != nil { // The next round tells.
		return
	}
	fullest := ratio(info.Store, info.Limits.MaxStore)
	for name, tier := range info.Tiers {
		replicas, err := strconv.ParseInt(strings.TrimPrefix(name, "R"), 10, 64)
		if err != nil {
			continue
		}
		fullest = max(fullest, ratio(tier.Store, tier.Limits.MaxStore*replicas))
	}
	u.set(usedAccount, fullest)
}

// stream is of one with a limit.
func (u used) stream(info *jetstream.StreamInfo) {
	if info.Config.MaxBytes > 0 {
		u.set(info.Config.Name, ratio(info.State.Bytes, info.Config.MaxBytes))
	}
}

// ratio is 0 if there is no limit, which NATS says with 0 or -1.
func ratio(bytes uint64, limit int64) float64 {
	if limit <= 0 {
		return 0
	}
	return float64(bytes) / float64(limit)
}
