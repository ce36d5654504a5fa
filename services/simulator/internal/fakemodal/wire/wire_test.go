package wire_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/fakemodal/wire"
)

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"no error is OK", nil, codes.OK},
		{"what is unknown is not found", fmt.Errorf("sandbox: %w", sandbox.ErrNotFound), codes.NotFound},
		{"a used name exists already", fmt.Errorf("sandbox: %w", sandbox.ErrNameUsed), codes.AlreadyExists},
		{"a full workspace is exhausted", sandbox.ErrCapacity, codes.ResourceExhausted},
		{"so is the rate of creations", &sandbox.RateError{PerSecond: 5}, codes.ResourceExhausted},
		{"a sandbox that has ended takes no command", sandbox.ErrNotRunning, codes.FailedPrecondition},
		{"a server that stops is unavailable", sandbox.ErrStopped, codes.Unavailable},
		{"anything else is internal", errors.New("x"), codes.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := status.Code(wire.Status(tt.err)); got != tt.want {
				t.Errorf("code %v, want %v", got, tt.want)
			}
		})
	}
}

func TestResult(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status sandbox.Status
		want   pb.GenericResult_GenericStatus
	}{
		{"pending", sandbox.Pending, pb.GenericResult_GENERIC_STATUS_UNSPECIFIED},
		{"running", sandbox.Running, pb.GenericResult_GENERIC_STATUS_UNSPECIFIED},
		{"success", sandbox.Success, pb.GenericResult_GENERIC_STATUS_SUCCESS},
		{"failure", sandbox.Failure, pb.GenericResult_GENERIC_STATUS_FAILURE},
		{"terminated", sandbox.Terminated, pb.GenericResult_GENERIC_STATUS_TERMINATED},
		{"timeout", sandbox.TimedOut, pb.GenericResult_GENERIC_STATUS_TIMEOUT},
		{"init failure", sandbox.InitFailure, pb.GenericResult_GENERIC_STATUS_INIT_FAILURE},
		{"internal failure", sandbox.InternalFailure, pb.GenericResult_GENERIC_STATUS_INTERNAL_FAILURE},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := wire.Result(sandbox.Record{Status: tt.status, ExitCode: 3, Exception: "why"})
			if got.GetStatus() != tt.want || (got == nil) != (tt.want == pb.GenericResult_GENERIC_STATUS_UNSPECIFIED) {
				t.Errorf("result %v, want %v", got, tt.want)
			}
			if got != nil && (got.GetExitcode() != 3 || got.GetException() != "why") {
				t.Errorf("result %v, want exit code 3 and the exception", got)
			}
		})
	}
}

// The SDK sends the creation time of a page's last sandbox back to get the next page.
func TestMicrosecondsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		micro := rapid.Int64Range(1, 4e15).Draw(t, "micro") // until the year 2096
		at := time.UnixMicro(micro)
		if got := wire.FromUnixSeconds(wire.UnixSeconds(at)); !got.Equal(at) {
			t.Errorf("%v became %v", at, got)
		}
		if wire.UnixSeconds(at) >= wire.UnixSeconds(at.Add(time.Microsecond)) {
			t.Errorf("%v and the next microsecond are one on the wire", at)
		}
	})
	if !wire.FromUnixSeconds(wire.UnixSeconds(time.Time{})).IsZero() {
		t.Error("the zero time does not survive")
	}
}

func TestTagsAreSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tags := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "tags")
		list := wire.ToTags(tags)
		for i := 1; i < len(list); i++ {
			if list[i-1].GetTagName() >= list[i].GetTagName() {
				t.Errorf("%q is before %q", list[i-1].GetTagName(), list[i].GetTagName())
			}
		}
		if got := wire.FromTags(list); !maps.Equal(got, tags) {
			t.Errorf("%v became %v", tags, got)
		}
	})
}
