// Package sandbox keeps the sandboxes of the simulated Modal: their limits, names, tags, lifetimes, output and history.
//
// What Modal's control plane decides lives here; how that is said on the wire does not, nor how programs are run.
// Values of environment variables are dropped when a sandbox ends and never appear in a Record.
package sandbox

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"

	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

// Backend is one of the two systems at Modal that run sandboxes. Each knows only its own.
type Backend string

// The SDK uses V1 for sandboxes with a GPU, V2 for all others.
const (
	V1 Backend = "v1"
	V2 Backend = "v2"
)

// Status says how far a sandbox has come, in the words of Modal's GenericResult once it has ended.
type Status string

// Pending and Running are the states before the end; the others are final.
const (
	Pending    Status = "pending"
	Running    Status = "running"
	Success    Status = "success"
	Failure    Status = "failure"
	Terminated Status = "terminated"
	TimedOut   Status = "timeout"
	// InitFailure is that of a sandbox whose program could not be started.
	InitFailure Status = "init_failure"
	// InternalFailure is that of one whose machine could not be removed.
	InternalFailure Status = "internal_failure"
)

// Spec says what to create.
type Spec struct {
	Backend Backend
	AppID   string
	// IdempotencyKey makes Create return the sandbox that it made for the same key before. Empty means no key.
	IdempotencyKey string
	// Definition is what the client sent. Name, entrypoint, working directory and timeout are taken from it.
	Definition *pb.Sandbox
	Tags       map[string]string
	// Env is what the program sees on top of the image's variables.
	Env map[string]string
}

// Record is the history of a sandbox.
type Record struct {
	ID        string            `json:"id"`
	TaskID    string            `json:"task_id"`
	Backend   Backend           `json:"backend"`
	AppID     string            `json:"app_id"`
	ImageID   string            `json:"image_id"`
	Name      string            `json:"name,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
	EnvKeys   []string          `json:"env_keys,omitempty"`
	Status    Status            `json:"status"`
	ExitCode  int               `json:"exit_code"`
	Exception string            `json:"exception,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
	StartedAt time.Time         `json:"started_at,omitzero"`
	EndedAt   time.Time         `json:"ended_at,omitzero"`
	// TimeoutSecs is the lifetime from StartedAt on.
	TimeoutSecs int    `json:"timeout_secs"`
	MilliCPU    uint32 `json:"milli_cpu,omitempty"`
	MilliCPUMax uint32 `json:"milli_cpu_max,omitempty"`
	MemoryMiB   uint32 `json:"memory_mib,omitempty"`
	// MemoryMaxMiB is the most that it may use.
	MemoryMaxMiB uint32   `json:"memory_max_mib,omitempty"`
	GPU          string   `json:"gpu,omitempty"`
	GPUs         uint32   `json:"gpus,omitempty"`
	Regions      []string `json:"regions,omitempty"`
	Cloud        string   `json:"cloud,omitempty"`
	Runtime      string   `json:"runtime,omitempty"`
	// Options are those that the SDK calls experimental.
	Options map[string]string `json:"experimental_options,omitempty"`
	Mounts  []Mount           `json:"mounts,omitempty"` // by their paths
	// Network is open, blocked or allowlist; Domains and CIDRs are what the last one allows.
	Network    string      `json:"network,omitempty"`
	Domains    []string    `json:"domains,omitempty"`
	CIDRs      []string    `json:"cidrs,omitempty"`
	Definition *pb.Sandbox `json:"-"` // as received; not to be changed
}

// Mount is a volume in a sandbox.
type Mount struct {
	VolumeID string `json:"volume_id"`
	// SubPath is the directory of the volume; empty is all of it.
	SubPath  string `json:"sub_path,omitempty"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Ended reports whether the status is final.
func (r Record) Ended() bool { return !r.EndedAt.IsZero() }

// Sandbox is one sandbox, running or ended. It is safe for concurrent use.
type Sandbox struct {
	spec   Spec // without Env
	id     string
	taskID string
	// createdAt differs from every other sandbox's by a microsecond at least.
	createdAt time.Time
	startAt   time.Time
	timeout   time.Duration
	envKeys   []string
	output    *Log
	stop      context.CancelCauseFunc
	ctx       context.Context //nolint:containedctx // the sandbox's lifetime, which no call bounds
	started   chan struct{}
	done      chan struct{}

	mu        sync.Mutex
	env       map[string]string // nil once ended
	tags      map[string]string
	status    Status
	startedAt time.Time
	endedAt   time.Time
	exitCode  int
	exception string
	machine   machine.Machine // nil unless running
	execs     map[string]*Exec
	running   sync.WaitGroup // of execs
}

// ID returns the id, in the shape by which the SDK tells the backends apart.
func (s *Sandbox) ID() string { return s.id }

// TaskID returns the id of the sandbox's only task.
func (s *Sandbox) TaskID() string { return s.taskID }

// Scheduled reports whether the task has a place to run.
func (s *Sandbox) Scheduled() bool { return !time.Now().Before(s.startAt) }

// Started is closed when the program starts, or when the sandbox ends before it could.
func (s *Sandbox) Started() <-chan struct{} { return s.started }

// Done is closed when the sandbox has ended and none of its processes is left.
func (s *Sandbox) Done() <-chan struct{} { return s.done }

// Output returns what the entrypoint has written.
func (s *Sandbox) Output() *Log { return s.output }

// Terminate ends the sandbox soon, as Terminated. It does nothing if the sandbox ends anyhow.
func (s *Sandbox) Terminate() { s.stop(errTerminated) }

// SetTags replaces all tags.
func (s *Sandbox) SetTags(tags map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags = maps.Clone(tags)
}

// Record returns the history so far.
func (s *Sandbox) Record() Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	def := s.spec.Definition
	resources := def.GetResources()
	return Record{
		ID: s.id, TaskID: s.taskID, Backend: s.spec.Backend, AppID: s.spec.AppID, ImageID: def.GetImageId(),
		Name: def.GetName(), Tags: maps.Clone(s.tags), EnvKeys: slices.Clone(s.envKeys),
		Status: s.status, ExitCode: s.exitCode, Exception: s.exception,
		CreatedAt: s.createdAt, StartedAt: s.startedAt, EndedAt: s.endedAt, TimeoutSecs: int(s.timeout / time.Second),
		MilliCPU: resources.GetMilliCpu(), MilliCPUMax: resources.GetMilliCpuMax(),
		MemoryMiB: resources.GetMemoryMb(), MemoryMaxMiB: resources.GetMemoryMbMax(),
		GPU: resources.GetGpuConfig().GetGpuType(), GPUs: resources.GetGpuConfig().GetCount(),
		Regions: def.GetSchedulerPlacement().GetRegions(), Cloud: def.GetCloudProviderStr(), Runtime: def.GetRuntime(),
		Options: def.GetExperimentalOptionsV2(), Mounts: mountsOf(def),
		Network: strings.ToLower(def.GetNetworkAccess().GetNetworkAccessType().String()),
		Domains: def.GetNetworkAccess().GetAllowedDomains(), CIDRs: def.GetNetworkAccess().GetAllowedCidrs(),
		Definition: def,
	}
}

func mountsOf(def *pb.Sandbox) []Mount {
	var mounts []Mount
	for _, m := range def.GetVolumeMounts() {
		mounts = append(mounts, Mount{VolumeID: m.GetVolumeId(), SubPath: m.GetSubPath(), Path: m.GetMountPath(), ReadOnly: m.GetReadOnly()})
	}
	slices.SortFunc(mounts, func(a, b Mount) int { return strings.Compare(a.Path, b.Path) })
	return mounts
}
