package controlplane

import (
	"context"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal/auth"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/fakemodal/wire"
)

const (
	maxName = 64
	// The limits of a variable's name and value, in bytes. Source: modal.com/docs/guide/secrets.
	maxEnvKey   = 16_384
	maxEnvValue = 32_768
	// minMachineMemory is the least of a virtual machine, in MiB (modal.com/docs/guide/vm-sandboxes).
	minMachineMemory = 1024
	// identityToken is the variable by which a sandbox shows clouds who it is (modal.com/docs/guide/oidc-integration).
	identityToken = "MODAL_IDENTITY_TOKEN" //nolint:gosec // its name
)

// create starts a sandbox after it has checked what the request refers to.
func (c *ControlPlane) create(ctx context.Context, spec sandbox.Spec, sources []*pb.SecretSource) (*sandbox.Sandbox, error) {
	if _, err := c.Objects.Apps.Find(spec.AppID); err != nil {
		return nil, err
	}
	if _, err := c.Images.Built(spec.Definition.GetImageId()); err != nil {
		return nil, err
	}
	for _, mount := range spec.Definition.GetVolumeMounts() {
		if _, err := c.Objects.Volumes.Find(mount.GetVolumeId()); err != nil {
			return nil, err
		}
	}
	if err := checkDefinition(spec.Definition); err != nil {
		return nil, err
	}
	env, err := c.Objects.Variables(sources)
	if err != nil {
		return nil, err
	}
	if err := checkEnv(env); err != nil {
		return nil, err
	}
	spec.Env = env
	if spec.Definition.GetIncludeOidcIdentityToken() {
		env[identityToken] = "header.claims.signature" // In the form of a JWT; nobody here trusts it.
	}
	if key := auth.Header(ctx, "x-idempotency-key"); key != "" {
		spec.IdempotencyKey = string(spec.Backend) + " " + key
	}
	s, err := c.Store.Create(spec) //nolint:contextcheck // a sandbox outlives the call that creates it
	return s, wire.Status(err)
}

func checkDefinition(def *pb.Sandbox) error {
	if name := def.GetName(); name != "" && (len(name) > maxName || !regexp.MustCompile(`^[A-Za-z0-9-_.]+$`).MatchString(name)) {
		return status.Errorf(codes.InvalidArgument, "name: must be 1 to %d of A-Z a-z 0-9 - _ . (got %q)", maxName, name)
	}
	if most := uint32(sandbox.MaxTimeout / time.Second); def.GetTimeoutSecs() > most {
		return status.Errorf(codes.InvalidArgument, "timeout_secs: must be at most %d (got %d)", most, def.GetTimeoutSecs())
	}
	if err := checkMounts(def.GetVolumeMounts()); err != nil {
		return err
	}
	if runtime := def.GetRuntime(); runtime != "" && runtime != "gvisor" && runtime != "vm" {
		return status.Errorf(codes.InvalidArgument, "runtime: must be gvisor or vm (got %q)", runtime)
	}
	if memory := def.GetResources().GetMemoryMb(); def.GetRuntime() == "vm" && memory < minMachineMemory {
		return status.Errorf(codes.InvalidArgument, "resources.memory_mb: must be at least %d for a virtual machine (got %d)", minMachineMemory, memory)
	}
	return checkNetwork(def.GetNetworkAccess())
}

// checkMounts refuses what Modal's own clients refuse before they ask.
func checkMounts(mounts []*pb.VolumeMount) error {
	used := map[string]bool{}
	for _, m := range mounts {
		at := m.GetMountPath()
		switch {
		case !path.IsAbs(at) || path.Clean(at) != at || slices.Contains([]string{"/", "/root", "/tmp"}, at):
			return status.Errorf(codes.InvalidArgument, "volume_mounts: mount_path must be absolute and none of /, /root, /tmp (got %q)", at)
		case m.GetSubPath() != "" && path.Join("/", m.GetSubPath()) != "/"+strings.TrimPrefix(m.GetSubPath(), "/"):
			return status.Errorf(codes.InvalidArgument, "volume_mounts: sub_path must be as short as it can be (got %q)", m.GetSubPath())
		case used[at]:
			return status.Errorf(codes.InvalidArgument, "volume_mounts: mount_path must come once (got %q)", at)
		}
		used[at] = true
	}
	return nil
}

func checkNetwork(access *pb.NetworkAccess) error {
	listed := len(access.GetAllowedDomains())+len(access.GetAllowedCidrs()) > 0
	if kind := access.GetNetworkAccessType(); listed && kind != pb.NetworkAccess_ALLOWLIST {
		return status.Errorf(codes.InvalidArgument, "network_access: must be of type ALLOWLIST for what it lists (got %v)", kind)
	}
	for _, cidr := range access.GetAllowedCidrs() {
		if prefix, err := netip.ParsePrefix(cidr); err != nil || prefix.Masked() != prefix {
			return status.Errorf(codes.InvalidArgument, "network_access.allowed_cidrs: must be ranges of addresses (got %q)", cidr)
		}
	}
	domain := regexp.MustCompile(`^(\*\.)?([A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]*$`)
	for _, name := range access.GetAllowedDomains() {
		if !domain.MatchString(name) {
			return status.Errorf(codes.InvalidArgument, "network_access.allowed_domains: must be names of hosts, or *. and a name (got %q)", name)
		}
	}
	return nil
}

// checkEnv names no value: it may be a secret.
func checkEnv(env map[string]string) error {
	name := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		if len(key) > maxEnvKey || !name.MatchString(key) {
			return status.Errorf(codes.InvalidArgument, "name of a variable: must be at most %d letters, digits and _ (got %.80q)", maxEnvKey, key)
		}
		if n := len(env[key]); n > maxEnvValue {
			return status.Errorf(codes.InvalidArgument, "variable %s: must be at most %d bytes long (got %d bytes)", key, maxEnvValue, n)
		}
	}
	return nil
}

// secretIDs is the older form of secret sources.
func secretIDs(ids []string) []*pb.SecretSource {
	var sources []*pb.SecretSource
	for _, id := range ids {
		sources = append(sources, pb.SecretSource_builder{SecretId: &id}.Build())
	}
	return sources
}

// sourcesOf returns where the variables of a V2 sandbox come from, by the rules in the comments of the message.
func sourcesOf(req *pb.SandboxCreateV2Request) ([]*pb.SecretSource, error) {
	ids := req.GetDefinition().GetSecretIds()
	if len(req.GetSecretSources()) == 0 {
		return append(secretIDs(ids), pb.SecretSource_builder{Env: req.GetEphemeralSecrets()}.Build()), nil
	}
	if len(req.GetEphemeralSecrets().GetContents()) > 0 {
		return nil, status.Error(codes.InvalidArgument, "secret_sources: must not be combined with ephemeral_secrets")
	}
	var named []string
	for _, source := range req.GetSecretSources() {
		if source.HasSecretId() {
			named = append(named, source.GetSecretId())
		}
	}
	if len(ids) > 0 && !slices.Equal(ids, named) {
		return nil, status.Errorf(codes.InvalidArgument, "definition.secret_ids: must match those of secret_sources (got %q and %q)", ids, named)
	}
	return req.GetSecretSources(), nil
}
