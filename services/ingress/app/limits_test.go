package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/ingress/internal/limit"
)

func load(t *testing.T, environ ...string) Config {
	t.Helper()
	cfg, _, err := LoadConfig(append(environ, "WEBHOOK_SECRET=canary"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestRatesAreThoseOfTheOperator(t *testing.T) {
	t.Parallel()
	cfg := load(t, "INGRESS_SOURCE_RATE=1", "INGRESS_SOURCE_BURST=2", "INGRESS_INSTALLATION_RATE=3", "INGRESS_INSTALLATION_BURST=4")
	got, want := []limit.Rate{cfg.source(), cfg.tenant()}, []limit.Rate{{PerSecond: 1, Burst: 2}, {PerSecond: 3, Burst: 4}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestByDefaultTenThousandJobsAtOnceAreWithinTheRateOfATenant(t *testing.T) {
	t.Parallel()
	cfg := load(t)
	tenants, tenant := limit.NewTenants(cfg.tenant()), limit.TenantOf(1, "")
	for n := range 2 * 10_000 { // Queued, and waiting or started.
		if !tenants.Take(tenant) {
			t.Fatalf("only %d events are", n)
		}
	}
}
