package limit

import "strings"

// Tenants know how much each of them sends, by one bucket each. It is safe for concurrent use.
type Tenants struct{ buckets *buckets[Tenant] }

// Tenant is on whose behalf GitHub sends: an installation of a GitHub App, or the owner of a repository whose webhook is
// the repository's or the organization's own.
type Tenant struct {
	installation int64
	owner        string
}

// TenantOf returns the tenant of an event; an installation of 0 stands for none.
func TenantOf(installation int64, owner string) Tenant {
	if installation != 0 {
		return Tenant{installation: installation}
	}
	return Tenant{owner: strings.ToLower(owner)} // As GitHub does, which compares names without case.
}

// NewTenants returns tenants whose buckets are full.
func NewTenants(r Rate) *Tenants { return &Tenants{buckets: newBuckets[Tenant](r)} }

// Take counts an event of tenant, and reports whether it is within the tenant's rate. What is beyond it is not counted.
func (t *Tenants) Take(tenant Tenant) bool { return t.buckets.take(tenant) }
