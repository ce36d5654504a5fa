package catalog

import (
	"strings"
	"testing"
)

func TestImageRef(t *testing.T) {
	for _, tt := range []struct {
		name, environment, ref string
		want                   scope
	}{
		{"a name alone is of the environment and latest", "main", "runner", scope{"main", "runner:latest"}},
		{"a tag is kept", "main", "runner:v1", scope{"main", "runner:v1"}},
		{"a prefix is the environment", "main", "staging/runner", scope{"staging", "runner:latest"}},
		{"a workspace before it is part of the prefix", "main", "us/staging/runner:v1", scope{"us/staging", "runner:v1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := imageRef(tt.environment, tt.ref); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzImageRef(f *testing.F) {
	f.Add("main", "runner")
	f.Add("main", "staging/runner:v1")
	f.Fuzz(func(t *testing.T, environment, ref string) {
		got := imageRef(environment, ref)
		if strings.Contains(got.name, "/") || !strings.Contains(got.name, ":") {
			t.Errorf("name %q of %q: want a tag and no prefix", got.name, ref)
		}
		if again := imageRef(got.environment, got.name); again != got {
			t.Errorf("%q in %q is %v, and that is %v", ref, environment, got, again)
		}
	})
}
