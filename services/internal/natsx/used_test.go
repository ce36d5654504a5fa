package natsx_test

import (
	"io"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
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
