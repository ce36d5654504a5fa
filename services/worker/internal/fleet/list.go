package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

// listTimeout bounds a whole list, of however many pages.
const listTimeout = time.Minute

// Sandbox is a running sandbox as Modal lists it.
type Sandbox struct {
	ID string
	// Name is the runner's, if Ours: the sandbox has a name that we give to those of runners, or is a warm one that a runner was given.
	Name run.Name
	Ours bool
	// Warm is the name under which it was to wait for a runner, if it was given none; see [Fleet.Warm].
	Warm string
	// CreatedAt is when a warm one was given, if it was.
	CreatedAt time.Time
	// Job, Repo ("owner/repo") and Pool are what its tags say; zero for a tag that it lacks.
	Job        int64
	Repo, Pool string
	// Deployment is the tag of the workers that created it.
	Deployment string
}

// List lists the running sandboxes of our App that carry our tag, with a GPU or without. The list is complete, or there
// is an error. An App that Modal does not know, as before the first launch, has none.
func (f *Fleet) List(ctx context.Context) ([]Sandbox, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var found []Sandbox
	client, err := f.observed(func(reply any) {
		if page, ok := reply.(*pb.SandboxListResponse); ok {
			for _, info := range page.GetSandboxes() {
				found = append(found, sandboxOf(info))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	handles, err := f.running(ctx, client, map[string]string{tagManaged: managedBy})
	if err != nil {
		return nil, err
	}
	listed := 0
	for _, err := range handles {
		if err != nil {
			return nil, fmt.Errorf("modal: %w", classify(err, time.Now()))
		}
		listed++
	}
	if listed != len(found) { // Another version of the SDK lists by another call.
		return nil, fmt.Errorf("modal: the SDK lists %d sandboxes, but Modal's answers hold %d", listed, len(found))
	}
	return found, nil
}

// LaunchedFor returns the ids of the running sandboxes of our App that workers of this deployment created for the job, or gave to its
// runners. The list is complete, or there is an error.
func (f *Fleet) LaunchedFor(ctx context.Context, job int64) (ids []string, err error) {
	return f.tagged(ctx, map[string]string{tagJob: strconv.FormatInt(job, 10)})
}

// tagged returns the ids of the running sandboxes of our App and deployment that have all of the tags. The list is complete, or there is
// an error.
func (f *Fleet) tagged(ctx context.Context, tags map[string]string) (ids []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	deployment, err := f.Deployment(ctx)
	if err != nil {
		return nil, fmt.Errorf("deployment: %w", err)
	}
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	tags[tagManaged], tags[tagDeployment] = managedBy, deployment
	handles, err := f.running(ctx, client, tags)
	if err != nil {
		return nil, err
	}
	for sandbox, err := range handles {
		if err != nil {
			return nil, fmt.Errorf("modal: %w", classify(err, time.Now()))
		}
		ids = append(ids, sandbox.SandboxID)
	}
	return ids, nil
}

// running are the sandboxes of our App that run and have all of the tags.
func (f *Fleet) running(ctx context.Context, client *modal.Client, tags map[string]string) (iter.Seq2[*modal.Sandbox, error], error) {
	app, err := client.Apps.FromName(ctx, f.App, nil)
	if _, ok := errors.AsType[modal.NotFoundError](err); ok {
		return func(func(*modal.Sandbox, error) bool) {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("modal app %s: %w", f.App, classify(err, time.Now()))
	}
	// This call sees both of Modal's backends, whichever of them is the default: GPUs are on the older one.
	handles, err := client.Sandboxes.ExperimentalList(ctx, &modal.SandboxExperimentalListParams{AppID: app.AppID, Tags: tags})
	if err != nil {
		return nil, fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	return handles, nil
}

// observed makes a client whose every answer saw is shown, and every message of a stream, while the call that it answers runs. The
// SDK's own results hide much of what Modal says. The client has a connection of its own, so that long lists delay no launch; the caller closes
// it. Calls on it are not to run at the same time.
func (f *Fleet) observed(saw func(reply any)) (*modal.Client, error) {
	noWait := time.Duration(0)
	watch := func(
		ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		err := invoker(ctx, method, req, reply, conn, opts...)
		if err == nil {
			saw(reply)
		}
		return err
	}
	client, err := modal.NewClientWithOptions(&modal.ClientParams{
		TokenID: f.TokenID.Get().Reveal(), TokenSecret: f.TokenSecret.Get().Reveal(), Environment: f.Environment,
		Logger: f.Log, MaxThrottleWait: &noWait,
		GRPCUnaryInterceptors:  []grpc.UnaryClientInterceptor{f.Metrics.intercept, watch},
		GRPCStreamInterceptors: []grpc.StreamClientInterceptor{watchStream(saw)},
	})
	if err != nil {
		return nil, fmt.Errorf("modal client: %w", err)
	}
	return client, nil
}

// watchStream shows saw every message that comes.
func watchStream(saw func(reply any)) grpc.StreamClientInterceptor {
	return func(
		ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		stream, err := open(ctx, desc, conn, method, opts...)
		if err != nil {
			return nil, err
		}
		return watchedStream{stream, saw}, nil
	}
}

type watchedStream struct {
	grpc.ClientStream

	saw func(reply any)
}

func (s watchedStream) RecvMsg(reply any) error {
	err := s.ClientStream.RecvMsg(reply)
	if err == nil {
		s.saw(reply)
	}
	return err
}

func sandboxOf(info *pb.SandboxInfo) Sandbox {
	tags := map[string]string{}
	for _, tag := range info.GetTags() {
		tags[tag.GetTagName()] = tag.GetTagValue()
	}
	s := Sandbox{
		ID: info.GetId(), CreatedAt: time.UnixMicro(int64(info.GetCreatedAt() * float64(time.Second/time.Microsecond))),
		Repo: tags[tagRepo], Pool: tags[tagPool], Deployment: tags[tagDeployment],
	}
	if id, err := strconv.ParseInt(tags[tagJob], 10, 64); err == nil {
		s.Job = id
	}
	runner, given := tags[tagRunner]
	if !given && tags[tagWarm] == warmValue {
		s.Warm = strings.TrimSuffix(info.GetName(), warmName("", s.Deployment))
	}
	if job, attempt, ok := wire.ParseRunnerName(cmp.Or(runner, info.GetName())); ok {
		s.Name, s.Ours = run.Name{Job: job, Attempt: attempt}, true
	}
	if at, err := time.Parse(time.RFC3339, tags[tagGivenAt]); err == nil {
		s.CreatedAt = at
	}
	return s
}
