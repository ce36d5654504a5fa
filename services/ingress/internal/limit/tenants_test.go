package limit_test

import (
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/ingress/internal/limit"
)

func TestTenantsAreKeptApart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		a, b limit.Tenant
		same bool
	}{
		"an installation is one tenant, whoever owns its repositories": {limit.TenantOf(7, "octo"), limit.TenantOf(7, "acme"), true},
		"two installations are two":                                    {limit.TenantOf(7, "octo"), limit.TenantOf(8, "octo"), false},
		"without one, owners are two":                                  {limit.TenantOf(0, "octo"), limit.TenantOf(0, "acme"), false},
		"an owner is one, in any case":                                 {limit.TenantOf(0, "Octo"), limit.TenantOf(0, "octo"), true},
		"an owner's hooks are not the App's deliveries":                {limit.TenantOf(7, "octo"), limit.TenantOf(0, "octo"), false},
	} {
		tenants := limit.NewTenants(limit.Rate{PerSecond: 1, Burst: 1})
		if !tenants.Take(test.a) {
			t.Errorf("%s: the first one is not within its rate", name)
		}
		if within := tenants.Take(test.b); within == test.same {
			t.Errorf("%s: within its rate: %t", name, within)
		}
	}
}

func TestATenantIsWithinItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenants, tenant := limit.NewTenants(limit.Rate{PerSecond: 10, Burst: 100}), limit.TenantOf(1, "")
		send := func(events int) (within int) {
			for range events {
				if tenants.Take(tenant) {
					within++
				}
			}
			return within
		}
		for _, step := range []struct {
			after  time.Duration
			events int
			within int
		}{
			{0, 1000, 100},
			{time.Second, 1000, 10},
			{100 * time.Millisecond, 1, 1},
			{0, 1, 0},
			{time.Hour, 1000, 100},
		} {
			time.Sleep(step.after)
			if within := send(step.events); within != step.within {
				t.Errorf("%d of %d events are within the rate, want %d", within, step.events, step.within)
			}
		}
	})
}
