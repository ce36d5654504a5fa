package access_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/access"
	"modal-github-runner/services/simulator/internal/world"
)

func TestWhatACallerMayAndSees(t *testing.T) {
	desk := access.New(access.Options{TokenLife: time.Hour, Personal: []string{"ghp_x"}})
	token, _ := desk.Issue(access.Grant{
		Installation: world.Installation{ID: 5, App: 7, Owner: "acme", Repos: []string{"app"}},
		Permissions:  map[string]string{"actions": "read", "administration": "write"},
	})
	public, private := world.Repo{Owner: "octo", Name: "hello"}, world.Repo{Owner: "acme", Name: "app", Private: true}
	tests := []struct {
		name, auth          string
		read, write, manage bool // actions, actions:write, administration:write
		public, private     bool
	}{
		{"nobody", "", false, false, false, true, false},
		{"an installation", "token " + token, true, false, true, false, true},
		{"an installation as bearer", "Bearer " + token, true, false, true, false, true},
		{"a person", "token ghp_x", true, true, true, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.Header.Set("Authorization", tt.auth)
			who, err := desk.Identify(req, false)
			if err != nil {
				t.Fatal(err)
			}
			for permission, want := range map[string]bool{
				"": true, "actions": tt.read, "actions:write": tt.write, "administration:write": tt.manage,
			} {
				if err := who.May(permission); (err == nil) != want {
					t.Errorf("permission %q: %v, want granted %v", permission, err, want)
				}
			}
			if who.Sees(public) != tt.public || who.Sees(private) != tt.private {
				t.Errorf("sees public %v, private %v; want %v, %v", who.Sees(public), who.Sees(private), tt.public, tt.private)
			}
		})
	}
}
