package controlplane

import (
	"context"
	"maps"
	"regexp"
	"slices"
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
