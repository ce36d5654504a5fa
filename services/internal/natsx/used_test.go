package natsx_test

import (
	"context"
	"io"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

// lentAccounts lend the question for what a server stores to the account A, as deployments/nats does, which has a limit of its own.
const lentAccounts = `
no_auth_user: a
system_account: SYS
accounts {
  SYS { exports: [{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: "Stream", accounts: [A] }] }
  A {
    jetstream: { max_file: 280MB }
    imports: [{ service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } }]
    users: [{ user: a, password: a }]
  }
}`

func TestHowFullIsWhatStoresMessages(t *testing.T) {
	t.Parallel()
	const all, ofAccount, ofDead = 300 << 20, 280 << 20, 256 << 20
	js, _ := connect(t, natstest.Start(t, natstest.Storage(all), func(o *server.Options) {
		if err := o.ProcessConfigString(lentAccounts); err != nil {
			t.Fatal(err)
		}
	}).URL())
	guard := newGuard(t, js, 1, io.Discard)
	guard.Recheck(t.Context())
	if diff := cmp.Diff(map[string]float64{"server": 0, "account": 0, wire.StreamDead: 0}, storageUsed(t, guard)); diff != "" {
		t.Error(diff)
	}
	for n := range 4 {
		if _, err := js.Publish(t.Context(), "dead."+strconv.Itoa(n), make([]byte, 900<<10)); err != nil {
			t.Fatal(err)
		}
	}
	dead, err := js.Stream(t.Context(), wire.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	stored := float64(dead.CachedInfo().State.Bytes)
	guard.Recheck(t.Context())
	want := map[string]float64{"server": stored / all, "account": stored / ofAccount, wire.StreamDead: stored / ofDead}
	if diff := cmp.Diff(want, storageUsed(t, guard)); diff != "" {
		t.Error(diff)
	}
}

func TestWhereServersMayNotBeAskedTheirStorageIsNotKnownAndTheRestIs(t *testing.T) {
	t.Parallel()
	js, _ := connect(t, natstest.Start(t).URL())
	guard := newGuard(t, js, 1, io.Discard)
	guard.Recheck(t.Context())
	if diff := cmp.Diff(map[string]float64{"account": 0, wire.StreamDead: 0}, storageUsed(t, guard)); diff != "" {
		t.Error(diff)
	}
}

// One answer that comes late says nothing of whether servers may be asked.
func TestServersThatHaveAnsweredAreAskedAgainSoon(t *testing.T) {
	t.Parallel()
	js, _ := connect(t, natstest.Start(t).URL())
	var silent atomic.Bool
	if _, err := js.Conn().Subscribe("$SYS.REQ.SERVER.PING.JSZ", func(m *nats.Msg) {
		if !silent.Load() {
			_ = m.Respond([]byte(`{"server": {"name": "a"}, "data": {"storage": 5, "config": {"sync_always": true, "max_storage": 10}}}`))
		}
	}); err != nil {
		t.Fatal(err)
	}
	guard := newGuard(t, js, 1, io.Discard)
	for _, quiet := range []bool{false, true, false} {
		silent.Store(quiet)
		guard.Recheck(t.Context())
		if used, known := storageUsed(t, guard)["server"]; known == quiet || known && used != 0.5 {
			t.Errorf("silent: %v: known: %v, %v", quiet, known, used)
		}
	}
}

// tiered is an account with limits for each number of replicas, as an operator's JWT gives them.
type tiered struct {
	jetstream.JetStream
	tiers map[string]jetstream.Tier
}

func (a tiered) AccountInfo(context.Context) (*jetstream.AccountInfo, error) {
	return &jetstream.AccountInfo{Tiers: a.tiers}, nil
}

// A tier of three replicas counts what it stores three times, and is full at three times its limit.
func TestATierIsAsFullAsTheServerReckons(t *testing.T) {
	t.Parallel()
	js, _ := connect(t, natstest.Start(t).URL())
	tier := func(stored uint64, limit int64) jetstream.Tier {
		return jetstream.Tier{Store: stored, Limits: jetstream.AccountLimits{MaxStore: limit}}
	}
	for name, test := range map[string]struct {
		tiers map[string]jetstream.Tier
		want  float64
	}{
		"three replicas":         {map[string]jetstream.Tier{"R3": tier(900, 1000), "R1": tier(0, 1000)}, 0.3},
		"one replica":            {map[string]jetstream.Tier{"R3": tier(900, 1000), "R1": tier(900, 1000)}, 0.9},
		"none may be":            {map[string]jetstream.Tier{"R3": tier(0, 0), "R1": tier(250, 1000)}, 0.25},
		"one may be without end": {map[string]jetstream.Tier{"R1": tier(250, -1)}, 0},
	} {
		guard := newGuard(t, tiered{js, test.tiers}, 1, io.Discard)
		guard.Recheck(t.Context())
		if got := storageUsed(t, guard)["account"]; got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// storageUsed is the metric by its label.
func storageUsed(t *testing.T, guard *natsx.Guard) map[string]float64 {
	t.Helper()
	families, err := guard.Registry.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "nats_storage_used_ratio" {
			continue
		}
		for _, m := range family.GetMetric() {
			used[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return used
}
