// Package wire translates between package sandbox and the messages, codes and times of Modal's protocol.
//
// It decides nothing and keeps nothing.
package wire

import (
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
)

// Status says nil and the errors of package sandbox in gRPC's codes.
func Status(err error) error {
	var code codes.Code
	_, tooFast := errors.AsType[*sandbox.RateError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sandbox.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, sandbox.ErrNameUsed):
		code = codes.AlreadyExists
	case errors.Is(err, sandbox.ErrCapacity), tooFast:
		code = codes.ResourceExhausted
	case errors.Is(err, sandbox.ErrNotRunning):
		code = codes.FailedPrecondition
	case errors.Is(err, sandbox.ErrStopped):
		code = codes.Unavailable
	default:
		code = codes.Internal
	}
	return status.Error(code, err.Error())
}

// Result returns nil while the sandbox has not ended.
func Result(r sandbox.Record) *pb.GenericResult {
	var s pb.GenericResult_GenericStatus
	switch r.Status {
	case sandbox.Pending, sandbox.Running:
		return nil
	case sandbox.Success:
		s = pb.GenericResult_GENERIC_STATUS_SUCCESS
	case sandbox.Failure:
		s = pb.GenericResult_GENERIC_STATUS_FAILURE
	case sandbox.Terminated:
		s = pb.GenericResult_GENERIC_STATUS_TERMINATED
	case sandbox.TimedOut:
		s = pb.GenericResult_GENERIC_STATUS_TIMEOUT
	case sandbox.InitFailure:
		s = pb.GenericResult_GENERIC_STATUS_INIT_FAILURE
	case sandbox.InternalFailure:
		s = pb.GenericResult_GENERIC_STATUS_INTERNAL_FAILURE
	}
	return pb.GenericResult_builder{
		Status: s, Exitcode: int32(r.ExitCode), Exception: r.Exception, //nolint:gosec // a wait status has 8 bits
	}.Build()
}

// Handle is what accompanies a sandbox in most answers.
func Handle(r sandbox.Record) *pb.SandboxHandleMetadata {
	return pb.SandboxHandleMetadata_builder{AppId: r.AppID, Result: Result(r)}.Build()
}

// Info is an entry of a list.
func Info(r sandbox.Record) *pb.SandboxInfo {
	return pb.SandboxInfo_builder{
		Id: r.ID, AppId: r.AppID, Name: r.Name, ImageId: r.ImageID, CreatedAt: UnixSeconds(r.CreatedAt), Tags: ToTags(r.Tags),
		TimeoutSecs: uint32(r.TimeoutSecs), //nolint:gosec // a day at most
		TaskInfo: pb.TaskInfo_builder{
			Id: r.TaskID, SandboxId: r.ID, GpuType: r.GPU, Result: Result(r), EnqueuedAt: UnixSeconds(r.CreatedAt),
			StartedAt: UnixSeconds(r.StartedAt), FinishedAt: UnixSeconds(r.EndedAt),
		}.Build(),
		Regions:         r.Definition.GetSchedulerPlacement().GetRegions(),
		IdleTimeoutSecs: idleTimeout(r.Definition),
		Metadata:        Handle(r),
	}.Build()
}

func idleTimeout(def *pb.Sandbox) *uint32 {
	if !def.HasIdleTimeoutSecs() {
		return nil
	}
	secs := def.GetIdleTimeoutSecs()
	return &secs
}

// ToTags sorts the tags by name.
func ToTags(tags map[string]string) []*pb.SandboxTag {
	var out []*pb.SandboxTag
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, pb.SandboxTag_builder{TagName: name, TagValue: tags[name]}.Build())
	}
	return out
}

// FromTags is the inverse of ToTags.
func FromTags(tags []*pb.SandboxTag) map[string]string {
	out := make(map[string]string, len(tags))
	for _, tag := range tags {
		out[tag.GetTagName()] = tag.GetTagValue()
	}
	return out
}

// UnixSeconds is 0 for the zero time. Microseconds survive the way through a float64 and back.
func UnixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

// FromUnixSeconds is the inverse of UnixSeconds, to the microsecond.
func FromUnixSeconds(s float64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(s * 1e6)))
}

// Seconds reads a duration of the protocol.
func Seconds(s float32) time.Duration { return time.Duration(float64(s) * float64(time.Second)) }
