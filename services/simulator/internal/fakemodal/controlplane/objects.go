package controlplane

import (
	"context"
	"maps"
	"slices"
	"strings"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal/catalog"
)

// builderVersion is the setting of every environment (modal.com/docs/guide/migrate-image-builder).
const builderVersion = "2025.06"

// EnvironmentGetOrCreate finds or makes an environment.
func (c *ControlPlane) EnvironmentGetOrCreate(_ context.Context, req *pb.EnvironmentGetOrCreateRequest) (*pb.EnvironmentGetOrCreateResponse, error) {
	name := req.GetDeploymentName()
	if name == "" {
		name = catalog.MainEnvironment
	}
	env, err := c.Objects.Environments.GetOrCreate("", name, req.GetObjectCreationType(), struct{}{})
	if err != nil {
		return nil, err
	}
	return pb.EnvironmentGetOrCreateResponse_builder{
		EnvironmentId: env.ID,
		Metadata: pb.EnvironmentMetadata_builder{
			Name:     name,
			Settings: pb.EnvironmentSettings_builder{ImageBuilderVersion: builderVersion}.Build(),
		}.Build(),
	}.Build(), nil
}

// AppGetOrCreate finds or makes an app.
func (c *ControlPlane) AppGetOrCreate(_ context.Context, req *pb.AppGetOrCreateRequest) (*pb.AppGetOrCreateResponse, error) {
	environment, err := c.Objects.Environment(req.GetEnvironmentName())
	if err != nil {
		return nil, err
	}
	app, err := c.Objects.Apps.GetOrCreate(environment, req.GetAppName(), req.GetObjectCreationType(), struct{}{})
	if err != nil {
		return nil, err
	}
	return pb.AppGetOrCreateResponse_builder{
		AppId: app.ID,
		HandleMetadata: pb.AppHandleMetadata_builder{
			AppId: app.ID, Description: req.GetAppName(), EnvironmentName: environment,
		}.Build(),
	}.Build(), nil
}

// SecretGetOrCreate finds or makes a secret.
func (c *ControlPlane) SecretGetOrCreate(_ context.Context, req *pb.SecretGetOrCreateRequest) (*pb.SecretGetOrCreateResponse, error) {
	environment, err := c.Objects.Environment(req.GetEnvironmentName())
	if err != nil {
		return nil, err
	}
	secret, err := c.Objects.Secrets.GetOrCreate(environment, req.GetDeploymentName(), req.GetObjectCreationType(), req.GetEnvDict())
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, key := range req.GetRequiredKeys() {
		if _, ok := secret.Value[key]; !ok {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "Secret is missing key(s): %s", strings.Join(missing, ", "))
	}
	return pb.SecretGetOrCreateResponse_builder{
		SecretId: secret.ID,
		Metadata: pb.SecretMetadata_builder{
			Name: req.GetDeploymentName(), EnvironmentName: environment, Keys: slices.Sorted(maps.Keys(secret.Value)),
		}.Build(),
	}.Build(), nil
}

// VolumeGetOrCreate finds or makes a volume.
func (c *ControlPlane) VolumeGetOrCreate(_ context.Context, req *pb.VolumeGetOrCreateRequest) (*pb.VolumeGetOrCreateResponse, error) {
	environment, err := c.Objects.Environment(req.GetEnvironmentName())
	if err != nil {
		return nil, err
	}
	version := req.GetVersion()
	if version == pb.VolumeFsVersion_VOLUME_FS_VERSION_UNSPECIFIED {
		version = pb.VolumeFsVersion_VOLUME_FS_VERSION_V1
	}
	volume, err := c.Objects.Volumes.GetOrCreate(environment, req.GetDeploymentName(), req.GetObjectCreationType(), version)
	if err != nil {
		return nil, err
	}
	return pb.VolumeGetOrCreateResponse_builder{
		VolumeId: volume.ID, Version: volume.Value,
		Metadata: pb.VolumeMetadata_builder{Name: req.GetDeploymentName(), Version: volume.Value}.Build(),
	}.Build(), nil
}
