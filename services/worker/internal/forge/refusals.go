package forge

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v66/github"
)

// Refusal is an answer by which GitHub says no, and what to do about it.
type Refusal struct {
	// Meaning is what GitHub says, in words.
	Meaning string
	// Status are the HTTP statuses of the answer, and Says what its message contains, in lower case; empty for anything else.
	Status []int
	Says   string
	// Advice is for an operator.
	Advice string
	// Again is when it may be otherwise by itself; zero if not before somebody has changed something.
	Again time.Duration
	// Soon says that it is tried again as what failed, ever more slowly: it may be otherwise with the next token already.
	Soon bool
}

// Refusals returns those that are known, in the order in which they are looked through. The messages are GitHub's own; it does not
// document them, and may change them, so that each status has an entry for any.
func Refusals() []Refusal {
	return []Refusal{
		{
			Meaning: "The token, or the App's id or key, is not valid, or is no more", Status: []int{401},
			Advice: "give a token that has not expired (GITHUB_TOKEN), or the id of an App and its key (GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY); " +
				"a secret in a file is read again without a restart; if the key is right, the worker's clock may be wrong",
			Soon: true,
		},
		{
			Meaning: "Self-hosted runners are disabled there", Status: []int{403, 404, 422}, Says: "runners are disabled",
			Advice: "an owner of the organization or enterprise allows self-hosted runners for the repository (Settings, Actions, General, Runners), " +
				"or RUNNER_SCOPE=org registers them for the organization",
		},
		{
			Meaning: "GitHub Actions is disabled there", Status: []int{403, 404, 422}, Says: "actions is disabled",
			Advice: "allow GitHub Actions for the repository (Settings, Actions, General)",
		},
		{
			Meaning: "The installation of the App is suspended", Status: []int{403}, Says: "suspended",
			Advice: "an owner unsuspends the App where it is installed (Settings, GitHub Apps, Configure)",
		},
		{
			Meaning: "The organization has an IP allow list, and the worker's address is not in it", Status: []int{403}, Says: "ip allow list",
			Advice: "add the address from which the workers reach GitHub to the list (Settings, Authentication security), or have them leave " +
				"by one that is in it (HTTPS_PROXY)",
		},
		{
			Meaning: "The App lacks a permission", Status: []int{403}, Says: "not accessible by integration",
			Advice: "give the App the permission (repository runners: administration write; organization runners: organization_self_hosted_runners " +
				"write), and accept it where the App is installed",
		},
		{
			Meaning: "The token lacks a permission", Status: []int{403}, Says: "not accessible by personal access token",
			Advice: "give the token the permission (repository runners: administration write; organization runners: organization_self_hosted_runners " +
				"write; enterprise runners: a classic token with manage_runners:enterprise)",
		},
		{
			Meaning: "The organization demands single sign-on, for which the token is not authorized", Status: []int{403}, Says: "saml enforcement",
			Advice: "authorize the token for the organization (Settings, Personal access tokens, Configure SSO), or use a GitHub App",
		},
		{
			Meaning: "The token's owner is no administrator of the repository", Status: []int{403, 404}, Says: "admin rights",
			Advice: "use a token of somebody who is, or a GitHub App",
		},
		{
			Meaning: "The repository is archived", Status: []int{403}, Says: "archived",
			Advice: "its jobs can't run until it is unarchived",
		},
		{
			Meaning: "The runner group is full", Status: []int{403, 409, 422}, Says: "max limit",
			Advice: "the group has as many runners as GitHub allows; ours go with their jobs, so look for offline ones of others (Settings, Actions, Runners)",
			Again:  5 * time.Minute,
		},
		{
			Meaning: "Any other 403", Status: []int{403},
			Advice: "the App or token lacks a permission (repository runners: administration write; organization runners: " +
				"organization_self_hosted_runners write), the runner group is not allowed for the repository, or GitHub Actions is disabled there",
		},
		{
			Meaning: "Any other 404", Status: []int{404},
			Advice: "the repository, organization or enterprise (RUNNER_ENTERPRISE), the runner group (RUNNER_GROUP_ID, RUNNER_GROUP) or the App's " +
				"installation does not exist, " +
				"or the token can't see it",
		},
		{
			Meaning: "Any other 422", Status: []int{422},
			Advice: "GitHub does not accept these labels, this name or this runner group (RUNNER_GROUP_ID, RUNNER_GROUP)",
		},
	}
}

// refusalOf is the known refusal of that status and message.
func refusalOf(status int, said string) (Refusal, bool) {
	said = strings.ToLower(said)
	all := Refusals()
	n := slices.IndexFunc(all, func(r Refusal) bool { return slices.Contains(r.Status, status) && strings.Contains(said, r.Says) })
	if n < 0 {
		return Refusal{}, false
	}
	return all[n], true
}

// messageOf is all that GitHub's answer says.
func messageOf(e *github.ErrorResponse) string {
	said := []string{e.Message}
	for _, detail := range e.Errors {
		said = append(said, detail.Message)
	}
	return strings.Join(said, " ")
}

// isBusy reports whether GitHub refused to delete a runner, which is busy then: that ends.
func isBusy(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnprocessableEntity && resp.Request != nil && resp.Request.Method == http.MethodDelete
}
