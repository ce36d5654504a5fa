package forge_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

// groupGitHub has runner groups of organizations, and takes runners into those alone.
type groupGitHub struct {
	*sweepGitHub

	groups  map[string][]map[string]any // by organization
	joined  []string                    // "organization group" of each runner
	refusal int                         // the status for a group that is not there
}

func newGroupGitHub(t *testing.T) *groupGitHub {
	t.Helper()
	g := &groupGitHub{sweepGitHub: newSweepGitHub(t), groups: map[string][]map[string]any{}, refusal: http.StatusNotFound}
	g.HandleFunc("GET /orgs/{org}/actions/runner-groups", func(w http.ResponseWriter, r *http.Request) {
		paged(t, "runner_groups", fixed(g.groups[r.PathValue("org")]...))(w, r)
	})
	g.HandleFunc("GET /enterprises/{enterprise}/actions/runner-groups", func(w http.ResponseWriter, r *http.Request) {
		paged(t, "runner_groups", fixed(g.groups["enterprise "+r.PathValue("enterprise")]...))(w, r)
	})
	join := func(w http.ResponseWriter, r *http.Request) {
		var req struct {
			Group int64 `json:"runner_group_id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		org := r.PathValue("org")
		if enterprise := r.PathValue("enterprise"); enterprise != "" {
			org = "enterprise " + enterprise
		}
		for _, group := range g.groups[org] {
			if group["id"] == int(req.Group) {
				g.joined = append(g.joined, fmt.Sprint(org, " ", req.Group))
				answer(t, w, http.StatusCreated, map[string]any{"runner": map[string]any{"id": 5}, "encoded_jit_config": "jit"})
				return
			}
		}
		failing(g.refusal)(w, r)
	}
	g.HandleFunc("POST /orgs/{org}/actions/runners/generate-jitconfig", join)
	g.HandleFunc("POST /enterprises/{enterprise}/actions/runners/generate-jitconfig", join)
	g.HandleFunc("POST /repos/{org}/r/actions/runners/generate-jitconfig", join)
	return g
}

// has gives an organization its groups, by name, with ids from first on.
func (g *groupGitHub) has(org string, first int, names ...string) {
	g.groups[org] = nil
	for n, name := range names {
		g.groups[org] = append(g.groups[org], map[string]any{"id": first + n, "name": name})
	}
}

func TestARunnerJoinsTheGroupOfItsOrganizationThatHasTheName(t *testing.T) {
	const missing = `organization a has no runner group "gpu"; make the group there, or change RUNNER_GROUP`
	many := make([]string, 0, 102)
	for n := range 101 {
		many = append(many, fmt.Sprint("group ", n))
	}
	many = append(many, "gpu")
	alone := []string{"a"}
	tests := []struct {
		name   string
		setup  func(*groupGitHub)
		orgs   []string           // of the runners, one after the other
		then   func(*groupGitHub) // before the last one
		want   []string           // what they joined
		fails  string             // how the last one fails, for good
		asked  int                // pages of groups
		joined int                // requests for a JIT configuration
	}{
		{"found, and asked for once", func(g *groupGitHub) { g.has("a", 1, "Default", "gpu") }, []string{"a", "a", "a"}, nil, []string{"a 2", "a 2", "a 2"}, "", 1, 3},
		{"on page 2", func(g *groupGitHub) { g.has("a", 1, many...) }, alone, nil, []string{"a 102"}, "", 2, 1},
		{"of another case", func(g *groupGitHub) { g.has("a", 1, "Default", "GPU") }, alone, nil, nil, missing, 1, 0},
		{"missing", func(g *groupGitHub) { g.has("a", 1, "Default") }, alone, nil, nil, missing, 1, 0},
		{
			"deleted and made anew",
			func(g *groupGitHub) { g.has("a", 1, "Default", "gpu") },
			[]string{"a", "a"},
			func(g *groupGitHub) { g.has("a", 7, "gpu") },
			[]string{"a 2", "a 7"},
			"", 2, 3,
		},
		{
			"deleted and made anew, which GitHub says by a 422",
			func(g *groupGitHub) { g.has("a", 1, "Default", "gpu"); g.refusal = http.StatusUnprocessableEntity },
			[]string{"a", "a"},
			func(g *groupGitHub) { g.has("a", 7, "gpu") },
			[]string{"a 2", "a 7"},
			"", 2, 3,
		},
		{
			"deleted", func(g *groupGitHub) { g.has("a", 1, "Default", "gpu") },
			[]string{"a", "a"},
			func(g *groupGitHub) { g.has("a", 1, "Default") },
			[]string{"a 2"},
			missing, 2, 2,
		},
		{
			"of two organizations",
			func(g *groupGitHub) { g.has("a", 1, "Default", "gpu"); g.has("b", 1, "Default", "x", "gpu") },
			[]string{"a", "b", "a", "b"},
			nil,
			[]string{"a 2", "b 3", "a 2", "b 3"},
			"", 2, 4,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGroupGitHub(t)
			tt.setup(g)
			f := g.byName(t)
			for n, org := range tt.orgs {
				last := n == len(tt.orgs)-1
				if last && tt.then != nil {
					tt.then(g)
				}
				_, _, err := f.Register(t.Context(), runnerOf(org, org))
				switch {
				case last && tt.fails != "":
					if !permanent(err) || err.Error() != tt.fails {
						t.Errorf("got %v, want for good: %s", err, tt.fails)
					}
				case err != nil:
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, g.joined); diff != "" {
				t.Error(diff)
			}
			asked, tried := g.called("GET /orgs/"), g.called("POST /orgs/")
			if asked != tt.asked || tried != tt.joined {
				t.Errorf("asked for groups %d times and for runners %d times, want %d and %d", asked, tried, tt.asked, tt.joined)
			}
		})
	}
}

func TestAGroupThatIsMissingIsFoundOnceItIsMade(t *testing.T) {
	g := newGroupGitHub(t)
	f := g.byName(t)
	if _, _, err := f.Register(t.Context(), runnerOf("a", "a")); !permanent(err) {
		t.Fatalf("got %v, want an error for good", err)
	}
	g.has("a", 4, "gpu")
	if _, _, err := f.Register(t.Context(), runnerOf("a", "a")); err != nil {
		t.Error(err)
	}
}

func TestARefusalThatIsNotAboutTheGroupStaysWhatItIs(t *testing.T) {
	g := newGroupGitHub(t)
	g.has("a", 1, "Default", "gpu")
	f := g.byName(t)
	if _, _, err := f.Register(t.Context(), runnerOf("a", "a")); err != nil {
		t.Fatal(err)
	}
	g.groups["a"][1]["id"] = int64(2) // Listed as before, but no runner gets in.
	_, _, err := f.Register(t.Context(), runnerOf("a", "a"))
	if !permanent(err) || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v, want GitHub's 404, for good", err)
	}
	if asked, tried := g.called("GET /orgs/"), g.called("POST /orgs/"); asked != 2 || tried != 2 {
		t.Errorf("asked for groups %d times and for runners %d times, want each twice", asked, tried)
	}
}

func TestAListOfGroupsThatFailsIsClassifiedAsAllAnswersAre(t *testing.T) {
	for status, forGood := range map[int]bool{http.StatusForbidden: true, http.StatusInternalServerError: false} {
		g := newSweepGitHub(t)
		g.HandleFunc("GET /orgs/a/actions/runner-groups", failing(status))
		_, _, err := (&groupGitHub{sweepGitHub: g}).byName(t).Register(t.Context(), runnerOf("a", "a"))
		if err == nil || permanent(err) != forGood || !strings.Contains(err.Error(), "list runner groups of organization a: ") {
			t.Errorf("%d: got %v", status, err)
		}
	}
}

func TestARunnerOfARepositoryHasNoNamedGroup(t *testing.T) {
	g := newGroupGitHub(t)
	g.has("a", 1, "Default", "gpu")
	if _, _, err := g.byName(t).Register(t.Context(), runnerOf("a", "a/r")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a 1"}, g.joined); diff != "" {
		t.Error(diff)
	}
	if n := g.called("GET /"); n != 0 {
		t.Errorf("asked %d times for groups", n)
	}
}

func TestAskingForAGroupCountsAsPartOfALaunch(t *testing.T) {
	g := newGroupGitHub(t)
	g.has("a", 1, "Default", "gpu")
	o := g.options(t)
	budget := &fakeBudget{}
	o.Scope, o.Group, o.Budget = forge.ScopeOrg, "gpu", budget
	if _, _, err := forge.New(o).Register(t.Context(), runnerOf("a", "a")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"token: 1, launch", "token: 5, launch"}, budget.taken); diff != "" {
		t.Error(diff)
	}
}

// Its organizations have groups of the same name, which are not meant.
func TestARunnerOfAnEnterpriseJoinsTheGroupThere(t *testing.T) {
	g := newGroupGitHub(t)
	many := make([]string, 0, 102)
	for n := range 101 {
		many = append(many, fmt.Sprint("group ", n))
	}
	g.has("a", 1, "Default", "gpu")
	g.has("enterprise e", 1, append(many, "gpu")...)
	f := g.byName(t)
	for _, owner := range []string{"a", "b"} {
		if _, _, err := f.Register(t.Context(), runnerOf(owner, "enterprises/e")); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"enterprise e 102", "enterprise e 102"}, g.joined); diff != "" {
		t.Error(diff)
	}
	if pages := g.called("GET /enterprises/e/"); pages != 2 || g.called("GET /orgs/") != 0 {
		t.Errorf("asked for %d pages of groups of the enterprise", pages)
	}
	const missing = `enterprise other has no runner group "gpu"; make the group there, or change RUNNER_GROUP`
	if _, _, err := f.Register(t.Context(), runnerOf("a", "enterprises/other")); !permanent(err) || err.Error() != missing {
		t.Errorf("got %v, want %s", err, missing)
	}
}

// byName is a Forge whose runners join the group gpu.
func (g *groupGitHub) byName(t *testing.T) *forge.Forge {
	t.Helper()
	o := g.options(t)
	o.Scope, o.Group = forge.ScopeOrg, "gpu"
	return forge.New(o)
}

func runnerOf(owner, scope string) run.Runner {
	return run.Runner{
		Name: run.Name{Job: 11, Attempt: 1}, Scope: scope,
		Job: run.Job{ID: 11, Owner: owner, Repo: "r", OrgOwned: true, Labels: []string{"modal"}},
	}
}
