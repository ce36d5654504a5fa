package run

import "strings"

// enterprises begins the scopes of enterprises. GitHub lets no account have that name.
const enterprises = "enterprises/"

// EnterpriseScope is the Scope of the runners of an enterprise, whose short name in GitHub's URLs is the slug.
func EnterpriseScope(slug string) string { return enterprises + slug }

// EnterpriseOf is the slug of the enterprise whose scope it is; ok is false if it is the scope of a repository or an organization.
func EnterpriseOf(scope string) (slug string, ok bool) {
	if slug, ok = strings.CutPrefix(scope, enterprises); ok {
		return slug, true
	}
	return "", false
}

// Reaches reports whether GitHub may give the job to runners of the scope. Only organizations are in an enterprise, and those whose jobs
// we are told of are taken to be in ours: of one that is not, no runner there gets a job.
func (j Job) Reaches(scope string) bool {
	if _, ok := EnterpriseOf(scope); ok {
		return j.OrgOwned
	}
	return strings.EqualFold(scope, j.Owner) || strings.EqualFold(scope, j.Owner+"/"+j.Repo)
}
