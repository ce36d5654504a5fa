// Package shape renders the model in the JSON that GitHub publishes: the objects that REST answers and webhook payloads
// share. It decides nothing and keeps nothing.
//
// Sources: GitHub's OpenAPI description (rest-api-description) and the payload examples of octokit/webhooks.
package shape

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"modal-github-runner/services/simulator/internal/world"
)

// Links are the bases of the URLs in a rendering, without a slash at the end.
type Links struct {
	API  string // "https://api.github.com"
	HTML string // "https://github.com"
}

// Public are the links of github.com.
func Public() Links { return Links{API: "https://api.github.com", HTML: "https://github.com"} }

// Object is a JSON object.
type Object map[string]any

// Time is GitHub's form: UTC, whole seconds; null for the zero time.
func Time(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// NodeID is an opaque GraphQL id.
func NodeID(kind string, id int64) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%03d:%s%d", len(kind), kind, id))
}

// Owner renders a user or an organization as the "simple user".
func (l Links) Owner(o world.Owner) Object {
	kind := "User"
	if o.Org {
		kind = "Organization"
	}
	return l.account(o.Login, o.ID, kind)
}

// Sender renders who caused an event; the model has one user who does everything.
func (l Links) Sender() Object { return l.account("octocat", 583231, "User") }

func (l Links) account(login string, id int64, kind string) Object {
	user := l.API + "/users/" + login
	return Object{
		"login": login, "id": id, "node_id": NodeID(kind, id), "gravatar_id": "", "type": kind, "site_admin": false,
		"avatar_url": l.HTML + "/avatars/" + login, "url": user, "html_url": l.HTML + "/" + login,
		"followers_url": user + "/followers", "following_url": user + "/following{/other_user}",
		"gists_url": user + "/gists{/gist_id}", "starred_url": user + "/starred{/owner}{/repo}",
		"subscriptions_url": user + "/subscriptions", "organizations_url": user + "/orgs", "repos_url": user + "/repos",
		"events_url": user + "/events{/privacy}", "received_events_url": user + "/received_events",
	}
}

// Organization renders the "organization" of a payload.
func (l Links) Organization(o world.Owner) Object {
	org := l.API + "/orgs/" + o.Login
	return Object{
		"login": o.Login, "id": o.ID, "node_id": NodeID("Organization", o.ID), "url": org, "repos_url": org + "/repos",
		"events_url": org + "/events", "hooks_url": org + "/hooks", "issues_url": org + "/issues",
		"members_url": org + "/members{/member}", "public_members_url": org + "/public_members{/member}",
		"avatar_url": l.HTML + "/avatars/" + o.Login, "description": "",
	}
}

// Enterprise renders the "enterprise" of a payload.
func (l Links) Enterprise(slug string) Object {
	id := EnterpriseID(slug)
	return Object{
		"id": id, "slug": slug, "name": slug, "node_id": NodeID("Business", id), "avatar_url": l.HTML + "/avatars/b/" + slug, "description": nil,
		"website_url": nil, "html_url": l.HTML + "/enterprises/" + slug, "created_at": nil, "updated_at": nil,
	}
}

// EnterpriseID is the id of an enterprise.
func EnterpriseID(slug string) int64 { return int64(crc32.ChecksumIEEE([]byte(strings.ToLower(slug)))) }

// repoLinks are the URLs of a repository below its own, as "name suffix".
const repoLinks = `forks_url /forks|keys_url /keys{/key_id}|collaborators_url /collaborators{/collaborator}|teams_url /teams|hooks_url /hooks` +
	`|issue_events_url /issues/events{/number}|events_url /events|assignees_url /assignees{/user}|branches_url /branches{/branch}` +
	`|tags_url /tags|blobs_url /git/blobs{/sha}|git_tags_url /git/tags{/sha}|git_refs_url /git/refs{/sha}|trees_url /git/trees{/sha}` +
	`|statuses_url /statuses/{sha}|languages_url /languages|stargazers_url /stargazers|contributors_url /contributors` +
	`|subscribers_url /subscribers|subscription_url /subscription|commits_url /commits{/sha}|git_commits_url /git/commits{/sha}` +
	`|comments_url /comments{/number}|issue_comment_url /issues/comments{/number}|contents_url /contents/{+path}` +
	`|compare_url /compare/{base}...{head}|merges_url /merges|archive_url /{archive_format}{/ref}|downloads_url /downloads` +
	`|issues_url /issues{/number}|pulls_url /pulls{/number}|milestones_url /milestones{/number}` +
	`|notifications_url /notifications{?since,all,participating}|labels_url /labels{/name}|releases_url /releases{/id}|deployments_url /deployments`

// Repo renders a repository.
func (l Links) Repo(r world.Repo, o world.Owner) Object {
	visibility := "public"
	if r.Private {
		visibility = "private"
	}
	api, html := l.API+"/repos/"+r.FullName(), l.HTML+"/"+r.FullName()
	out := Object{
		"id": r.ID, "node_id": NodeID("Repository", r.ID), "name": r.Name, "full_name": r.FullName(), "private": r.Private,
		"visibility": visibility, "owner": l.Owner(o), "url": api, "html_url": html, "description": nil, "fork": false,
		"created_at": Time(r.CreatedAt), "updated_at": Time(r.CreatedAt), "pushed_at": Time(r.CreatedAt),
		"git_url": "git" + strings.TrimPrefix(strings.TrimPrefix(html, "https"), "http") + ".git",
		"ssh_url": "git@github.com:" + r.FullName() + ".git", "clone_url": html + ".git", "svn_url": html, "homepage": nil,
		"size": 0, "stargazers_count": 0, "watchers_count": 0, "forks_count": 0, "open_issues_count": 0, "forks": 0,
		"open_issues": 0, "watchers": 0, "language": nil, "license": nil, "mirror_url": nil, "has_issues": true,
		"has_projects": true, "has_downloads": true, "has_wiki": true, "has_pages": false, "has_discussions": false,
		"archived": false, "disabled": false, "is_template": false, "allow_forking": true, "topics": []string{},
		"default_branch": "main", "web_commit_signoff_required": false, "custom_properties": Object{},
	}
	for link := range strings.SplitSeq(repoLinks, "|") {
		name, suffix, _ := strings.Cut(link, " ")
		out[name] = api + suffix
	}
	return out
}

// Runner renders a self-hosted runner.
func Runner(r world.Runner) Object {
	status, version := "offline", any(nil)
	if r.Online {
		status = "online"
	}
	if r.Version != "" {
		version = r.Version
	}
	labels := make([]Object, len(r.Labels))
	for n, name := range r.Labels {
		labels[n] = Object{"id": n + 1, "name": name, "type": "custom"}
	}
	return Object{
		"id": r.ID, "name": r.Name, "os": r.OS, "status": status, "busy": r.Busy, "labels": labels,
		"runner_group_id": r.GroupID, "ephemeral": true, "version": version,
	}
}

// Group renders a runner group that all repositories of its organization, or all organizations of its enterprise, may use.
func Group(api string, s world.Scope, g world.Group) Object {
	out := Object{
		"id": g.ID, "name": g.Name, "visibility": "all", "default": g.ID == world.DefaultGroup,
		"allows_public_repositories": false, "restricted_to_workflows": false, "selected_workflows": []string{},
		"workflow_restrictions_read_only": false,
	}
	self := fmt.Sprintf("%s/orgs/%s/actions/runner-groups/%d", api, s.Owner, g.ID)
	if s.Enterprise != "" {
		self = fmt.Sprintf("%s/enterprises/%s/actions/runner-groups/%d", api, s.Enterprise, g.ID)
		out["selected_organizations_url"] = self + "/organizations"
	} else {
		out["inherited"] = false
	}
	out["runners_url"] = self + "/runners"
	return out
}
