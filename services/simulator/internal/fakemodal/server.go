package fakemodal

import (
	"errors"
	"fmt"
	"net"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"modal-github-runner/services/simulator/internal/fakemodal/auth"
	"modal-github-runner/services/simulator/internal/fakemodal/catalog"
	"modal-github-runner/services/simulator/internal/fakemodal/controlplane"
	"modal-github-runner/services/simulator/internal/fakemodal/machine"
	"modal-github-runner/services/simulator/internal/fakemodal/router"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/fault"
)

const (
	// minPing is below the SDK's 30 s between keepalive pings, which it also sends while idle. With gRPC's default
	// of 5 min the server would close the connection of every idle client.
	minPing = 5 * time.Second
	// maxMessage is the SDK's own limit, in bytes.
	maxMessage = 100 << 20

	defaultTokenTTL    = 20 * time.Minute // what the SDK assumes of a token that does not say
	defaultPageSize    = 100
	defaultOutputLimit = 64 << 10
)

// Options configures a Server.
type Options struct {
	// TokenID and TokenSecret are the only credentials that are accepted. Required.
	TokenID, TokenSecret string
	// TokenTTL is how long a token from AuthTokenGet is good for, in whole seconds: at least one, 20 min by default.
	TokenTTL time.Duration
	// Environments exist besides "main".
	Environments []string
	// Secrets exist in the environment "main": name to variables.
	Secrets map[string]map[string]string
	// ImageBuildTime is how long each layer of an image takes to build. None by default.
	ImageBuildTime time.Duration
	// BuildError says why the layer with these Dockerfile commands fails to build. Nil means that all succeed.
	BuildError func(dockerfile []string) error
	// PageSize is how many sandboxes a list returns at once, 100 by default.
	PageSize int
	// OutputLimit is how many bytes are kept of what a program writes, 64 KiB by default.
	OutputLimit int
	// SchedulingLatency is the time from a sandbox's creation to the start of its program. None by default.
	SchedulingLatency time.Duration
	// Limits bound what may be created. None by default.
	Limits sandbox.Limits
	// Executor runs the programs of sandboxes. The default is machine.Local with ImageEnv.
	Executor machine.Executor
	// ImageEnv holds the variables that every image sets, for the default Executor.
	ImageEnv map[string]string
	// RouterURL is told to clients as the command router's address. The default is where they reached the server.
	RouterURL string
	// Faults is asked before every call, for "modal." and the method's name, and for "modal.schedule" when a sandbox was created: its
	// latency is how much later the sandbox is scheduled. Nil means that nothing goes wrong.
	Faults *fault.Injector
}

func (o *Options) withDefaults() {
	if o.TokenTTL == 0 {
		o.TokenTTL = defaultTokenTTL
	}
	if o.PageSize == 0 {
		o.PageSize = defaultPageSize
	}
	if o.OutputLimit == 0 {
		o.OutputLimit = defaultOutputLimit
	}
	if o.Executor == nil {
		o.Executor = machine.Local{Env: o.ImageEnv}
	}
}

func (o *Options) validate() error {
	var errs []error
	if o.TokenID == "" {
		errs = append(errs, errors.New(`token id: must not be empty (got "")`))
	}
	if o.TokenSecret == "" {
		errs = append(errs, errors.New("token secret: must not be empty"))
	}
	if o.TokenTTL < time.Second {
		errs = append(errs, fmt.Errorf("token ttl: must be at least 1s (got %v)", o.TokenTTL))
	}
	if o.PageSize < 1 {
		errs = append(errs, fmt.Errorf("page size: must be positive (got %d)", o.PageSize))
	}
	if o.OutputLimit < 1 {
		errs = append(errs, fmt.Errorf("output limit: must be positive (got %d)", o.OutputLimit))
	}
	if o.ImageBuildTime < 0 {
		errs = append(errs, fmt.Errorf("image build time: must not be negative (got %v)", o.ImageBuildTime))
	}
	if o.SchedulingLatency < 0 {
		errs = append(errs, fmt.Errorf("scheduling latency: must not be negative (got %v)", o.SchedulingLatency))
	}
	return errors.Join(append(errs, o.Limits.Validate())...)
}

// SandboxRecord is the history of a sandbox, its definition as it came over the wire included.
type SandboxRecord = sandbox.Record

// Server is a simulated Modal. It is safe for concurrent use.
type Server struct {
	grpc    *grpc.Server
	auth    *auth.Authority
	faults  *fault.Injector
	store   *sandbox.Store
	images  *catalog.Images
	objects *catalog.Objects
}

// New makes a Server, or reports every mistake in the options. Stop must be called.
func New(o Options) (*Server, error) {
	o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("options of the simulated Modal: %w", err)
	}
	store, err := sandbox.NewStore(sandbox.Options{
		Executor: o.Executor, Latency: o.SchedulingLatency, OutputLimit: o.OutputLimit, Limits: o.Limits,
		Late: func() time.Duration { return o.Faults.Next("modal.schedule").Latency },
	})
	if err != nil {
		return nil, fmt.Errorf("options of the simulated Modal: %w", err)
	}
	s := &Server{
		auth: auth.New(o.TokenID, o.TokenSecret, o.TokenTTL), faults: o.Faults, store: store,
		images: catalog.NewImages(o.ImageBuildTime, o.BuildError), objects: catalog.NewObjects(o.Environments, o.Secrets),
	}
	s.grpc = grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
		grpc.WaitForHandlers(true),
	)
	pb.RegisterModalClientServer(s.grpc, &controlplane.ControlPlane{
		Auth: s.auth, Store: store, Images: s.images, Objects: s.objects, TokenID: o.TokenID, PageSize: o.PageSize,
		RouterURL: o.RouterURL,
	})
	pb.RegisterTaskCommandRouterServer(s.grpc, &router.Router{Auth: s.auth, Store: store, Objects: s.objects})
	return s, nil
}

// Serve accepts plaintext HTTP/2 connections until Stop, and closes the listener then. It may be called with several
// listeners at once.
func (s *Server) Serve(lis net.Listener) error {
	if err := s.grpc.Serve(lis); err != nil {
		return fmt.Errorf("serve the simulated Modal: %w", err)
	}
	return nil
}

// Stop breaks all connections, ends all sandboxes and returns when nothing of either is left.
func (s *Server) Stop() {
	s.grpc.Stop()
	s.store.Stop()
}

// Snapshot is what the server has and had.
type Snapshot struct {
	sandbox.Snapshot

	// ImageBuilds counts the layers that were built, including those that failed.
	ImageBuilds int `json:"image_builds"`
	// Images are the layers that were built and did not fail.
	Images []catalog.ImageRecord `json:"images"`
}

// Snapshot returns the state and the history since New.
func (s *Server) Snapshot() Snapshot {
	return Snapshot{Snapshot: s.store.Snapshot(), ImageBuilds: s.images.Count(), Images: s.images.Layers()}
}

// SetLimits replaces the limits for what is created from now on, or reports every mistake in them.
func (s *Server) SetLimits(l sandbox.Limits) error { return s.store.SetLimits(l) }
