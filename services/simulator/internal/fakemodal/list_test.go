package fakemodal_test

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/simulator/internal/fakemodal"
)

func TestListPagesThroughTags(t *testing.T) {
	r := newRig(t, fakemodal.Options{PageSize: 3})
	var odd []string
	for i := range 8 {
		s := r.create(t, modal.SandboxCreateParams{
			Command: []string{"sleep", "600"}, Tags: map[string]string{"odd": strconv.FormatBool(i%2 == 1), "n": strconv.Itoa(i)},
		})
		if i%2 == 1 {
			odd = append([]string{s.SandboxID}, odd...)
		}
	}
	if got := len(r.list(t, nil)); got != 8 {
		t.Errorf("%d sandboxes without a filter, want 8", got)
	}
	if got := r.list(t, map[string]string{"odd": "true"}); !slices.Equal(got, odd) {
		t.Errorf("odd: %v, want the newest first %v", got, odd)
	}
	if got := r.list(t, map[string]string{"odd": "true", "n": "2"}); len(got) != 0 {
		t.Errorf("contradicting tags: %v, want none", got)
	}
	ended, err := r.client.Sandboxes.FromID(t.Context(), odd[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ended.SetTags(r.context(t), map[string]string{"odd": "true", "new": "yes"}, nil); err != nil {
		t.Errorf("set tags: %v", err)
	}
	if got := r.list(t, map[string]string{"new": "yes"}); !slices.Equal(got, odd[:1]) {
		t.Errorf("by a tag that it was given since: %v, want %v", got, odd[:1])
	}
	if got := r.list(t, map[string]string{"n": "7"}); len(got) != 0 {
		t.Errorf("by a tag that it has no more: %v", got)
	}
	tags, err := ended.GetTags(r.context(t), nil)
	if want := map[string]string{"odd": "true", "new": "yes"}; err != nil || !maps.Equal(tags, want) {
		t.Errorf("tags %v, %v; want %v", tags, err, want)
	}
	if _, err := ended.Terminate(r.context(t), &modal.SandboxTerminateParams{Wait: true}); err != nil {
		t.Fatalf("terminate: %v", err)
	}
	if got := r.list(t, map[string]string{"odd": "true"}); !slices.Equal(got, odd[1:]) {
		t.Errorf("after one ended: %v, want %v", got, odd[1:])
	}
}

func TestListOfAnEnvironment(t *testing.T) {
	r := newRig(t, fakemodal.Options{Environments: []string{"staging"}})
	s := r.create(t, modal.SandboxCreateParams{Command: []string{"sleep", "600"}})
	for environment, want := range map[string][]string{"": {s.SandboxID}, "main": {s.SandboxID}, "staging": nil} {
		all, err := r.client.Sandboxes.List(r.context(t), &modal.SandboxListParams{Environment: environment})
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		var got []string
		for s, err := range all {
			if err != nil {
				t.Fatalf("list: %v", err)
			}
			got = append(got, s.SandboxID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("environment %q: %v, want %v", environment, got, want)
		}
	}
}
