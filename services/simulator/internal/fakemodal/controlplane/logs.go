package controlplane

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/fakemodal/wire"
)

// SandboxGetLogs streams one output of a V1 sandbox from the entry after the request's last one, until the sandbox has
// ended or the request's timeout is over; the client then calls again.
func (c *ControlPlane) SandboxGetLogs(req *pb.SandboxGetLogsRequest, stream grpc.ServerStreamingServer[pb.TaskLogsBatch]) error {
	s, err := c.Store.Find(sandbox.V1, req.GetSandboxId())
	if err != nil {
		return wire.Status(err)
	}
	seq, err := parseEntryID(req.GetLastEntryId())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(stream.Context(), wire.Seconds(req.GetTimeout()))
	defer cancel()
	for {
		entries, changed := s.Output().After(seq)
		batch := pb.TaskLogsBatch_builder{TaskId: s.TaskID(), SandboxId: s.ID(), Eof: changed == nil}
		for _, e := range entries {
			seq = e.Seq
			if from := req.GetFileDescriptor(); from == pb.FileDescriptor_FILE_DESCRIPTOR_UNSPECIFIED || from == descriptor(e.Stream) {
				batch.Items = append(batch.Items, logItem(e, s.TaskID()))
			}
		}
		batch.EntryId = entryID(seq)
		if len(batch.Items) > 0 || batch.Eof {
			if err := stream.Send(batch.Build()); err != nil {
				return err
			}
		}
		if batch.Eof {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// entryID has the shape of Modal's, of which clients know the first: "0-0".
func entryID(seq int) string { return strconv.Itoa(seq) + "-0" }

// parseEntryID is the inverse of entryID. An empty id is before the first entry.
func parseEntryID(id string) (seq int, err error) {
	if id == "" {
		return 0, nil
	}
	number, ok := strings.CutSuffix(id, "-0")
	if seq, err = strconv.Atoi(number); !ok || err != nil || seq < 0 || entryID(seq) != id {
		return 0, status.Errorf(codes.InvalidArgument, "last_entry_id: must be one that was sent before (got %q)", id)
	}
	return seq, nil
}

// AppFetchLogs returns the newest lines of a task that the request asks for, the oldest of them first.
func (c *ControlPlane) AppFetchLogs(_ context.Context, req *pb.AppFetchLogsRequest) (*pb.AppFetchLogsResponse, error) {
	s, entries, err := c.entries(req.GetAppId(), req)
	if err != nil || len(entries) == 0 {
		return &pb.AppFetchLogsResponse{}, err
	}
	if limit := int(req.GetLimit()); limit > 0 && len(entries) > limit {
		entries = entries[len(entries)-limit:]
	}
	batch := pb.TaskLogsBatch_builder{TaskId: s.TaskID(), SandboxId: s.ID()}
	for _, e := range entries {
		batch.Items = append(batch.Items, logItem(e, s.TaskID()))
	}
	return pb.AppFetchLogsResponse_builder{Batches: []*pb.TaskLogsBatch{batch.Build()}}.Build(), nil
}

// AppCountLogs counts lines in buckets of bucket_secs, and leaves out the empty buckets.
func (c *ControlPlane) AppCountLogs(_ context.Context, req *pb.AppCountLogsRequest) (*pb.AppCountLogsResponse, error) {
	width := time.Duration(req.GetBucketSecs()) * time.Second
	if width == 0 {
		return nil, status.Error(codes.InvalidArgument, "bucket_secs: must be positive (got 0)")
	}
	_, entries, err := c.entries(req.GetAppId(), req)
	if err != nil {
		return nil, err
	}
	var buckets []*pb.AppCountLogsResponse_LogBucket
	for _, e := range entries {
		start := timestamppb.New(e.At.Truncate(width))
		if n := len(buckets); n == 0 || !buckets[n-1].GetBucketStartAt().AsTime().Equal(start.AsTime()) {
			buckets = append(buckets, pb.AppCountLogsResponse_LogBucket_builder{BucketStartAt: start}.Build())
		}
		last := buckets[len(buckets)-1]
		switch e.Stream {
		case sandbox.Stdout:
			last.SetStdoutLogs(last.GetStdoutLogs() + 1)
		case sandbox.Stderr:
			last.SetStderrLogs(last.GetStderrLogs() + 1)
		}
	}
	return pb.AppCountLogsResponse_builder{AppId: req.GetAppId(), Buckets: buckets}.Build(), nil
}

// logQuery is what the requests for logs have in common.
type logQuery interface {
	GetTaskId() string
	GetSearchText() string
	GetSource() pb.FileDescriptor
	GetSince() *timestamppb.Timestamp
	GetUntil() *timestamppb.Timestamp
}

// entries returns the lines that were written from since on and before until, and contain the search text.
func (c *ControlPlane) entries(appID string, q logQuery) (*sandbox.Sandbox, []sandbox.Entry, error) {
	if q.GetTaskId() == "" {
		return nil, nil, status.Error(codes.InvalidArgument, `task_id: must not be empty (got "")`)
	}
	s, err := c.Store.FindTask(q.GetTaskId())
	if err != nil {
		return nil, nil, wire.Status(err)
	}
	if app := s.Record().AppID; app != appID {
		return nil, nil, status.Errorf(codes.NotFound, "task %q not found in app %q", q.GetTaskId(), appID)
	}
	all, _ := s.Output().After(0)
	return s, slices.Collect(func(yield func(sandbox.Entry) bool) {
		for _, e := range all {
			wanted := !e.At.Before(q.GetSince().AsTime()) && e.At.Before(q.GetUntil().AsTime()) &&
				(q.GetSource() == pb.FileDescriptor_FILE_DESCRIPTOR_UNSPECIFIED || q.GetSource() == descriptor(e.Stream)) &&
				strings.Contains(string(e.Data), q.GetSearchText())
			if wanted && !yield(e) {
				return
			}
		}
	}), nil
}

func descriptor(s sandbox.Stream) pb.FileDescriptor {
	if s == sandbox.Stdout {
		return pb.FileDescriptor_FILE_DESCRIPTOR_STDOUT
	}
	return pb.FileDescriptor_FILE_DESCRIPTOR_STDERR
}

// logItem replaces bytes that are not UTF-8, which a string of the protocol must not hold.
func logItem(e sandbox.Entry, taskID string) *pb.TaskLogs {
	return pb.TaskLogs_builder{
		Data: strings.ToValidUTF8(string(e.Data), "\uFFFD"), FileDescriptor: descriptor(e.Stream), ContainerId: taskID,
		Timestamp: wire.UnixSeconds(e.At), TimestampNs: uint64(e.At.UnixNano()),
	}.Build()
}
