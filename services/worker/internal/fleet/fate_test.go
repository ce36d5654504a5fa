package fleet_test

import (
	"strings"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"

	"modal-github-runner/services/worker/internal/run"
)

func TestFate(t *testing.T) {
	ended := func(s pb.GenericResult_GenericStatus, code int32, exception string) *pb.GenericResult {
		return pb.GenericResult_builder{Status: s, Exitcode: code, Exception: exception}.Build()
	}
	tests := []struct {
		name    string
		result  *pb.GenericResult
		log     []string
		withLog bool
		want    run.Fate
	}{
		{"one that runs", nil, []string{"hello\n"}, true, run.Fate{Running: true, How: "its sandbox runs; its log ends: hello"}},
		{"its status, its exit code and its log", ended(2, 75, ""), []string{"no job came\n"}, true, run.Fate{How: "its sandbox ended: failure, exit code 75; its log ends: no job came"}},
		{"without the log if that is not asked for", ended(2, 75, ""), []string{"the workflow's own\n"}, false, run.Fate{How: "its sandbox ended: failure, exit code 75"}},
		{"what Modal says", ended(5, 0, "no such image"), nil, true, run.Fate{How: "its sandbox ended: init_failure, no such image"}},
		{"no exit code where it means nothing", ended(8, 3, ""), nil, true, run.Fate{How: "its sandbox ended: evicted"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &surveyModal{results: map[string]*pb.GenericResult{v2ID: tt.result}, log: tt.log}
			if got, err := survey(t, m, "runners").Fate(t.Context(), v2ID, tt.withLog); err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	t.Run("in 500 bytes, cut between characters", func(t *testing.T) {
		long := strings.Repeat("é ", 400)
		m := &surveyModal{results: map[string]*pb.GenericResult{v2ID: ended(2, 1, long)}, log: []string{long + "the end"}}
		got, err := survey(t, m, "runners").Fate(t.Context(), v2ID, true)
		if how := got.How; err != nil || len(how) > 500 || len(how) < 490 || strings.ToValidUTF8(how, "?") != how || !strings.HasSuffix(how, "é the end") {
			t.Errorf("%v, %d bytes: %s", err, len(how), how)
		}
	})
}
