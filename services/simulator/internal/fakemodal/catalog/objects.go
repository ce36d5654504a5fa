// Package catalog keeps what sandboxes are made from: environments, apps, secrets, volumes and images.
//
// Its errors are gRPC statuses, and none shows the value of a secret.
package catalog

import (
	"maps"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
)

// MainEnvironment is what clients that name no environment get.
const MainEnvironment = "main"

// Objects are the named things of a workspace.
type Objects struct {
	Environments *Directory[struct{}]
	Apps         *Directory[struct{}]
	Secrets      *Directory[map[string]string]
	Volumes      *Directory[pb.VolumeFsVersion]
}

// NewObjects returns the objects of a workspace that has these environments besides "main", and these secrets in it.
func NewObjects(environments []string, secrets map[string]map[string]string) *Objects {
	o := &Objects{
		Environments: newDirectory[struct{}]("environment", "en"),
		Apps:         newDirectory[struct{}]("app", "ap"),
		Secrets:      newDirectory[map[string]string]("secret", "st"),
		Volumes:      newDirectory[pb.VolumeFsVersion]("volume", "vo"),
	}
	for _, name := range append([]string{MainEnvironment}, environments...) {
		o.Environments.put("", name, struct{}{})
	}
	for name, variables := range secrets {
		o.PutSecret(name, variables)
	}
	return o
}

// PutSecret makes a secret in the main environment, with another id than one of that name before it.
func (o *Objects) PutSecret(name string, variables map[string]string) {
	o.Secrets.put(MainEnvironment, name, maps.Clone(variables))
}

// PutVolume makes a volume there, likewise.
func (o *Objects) PutVolume(name string) {
	o.Volumes.put(MainEnvironment, name, pb.VolumeFsVersion_VOLUME_FS_VERSION_V1)
}

// Environment resolves the name that a client sent, which may be empty. The error is NOT_FOUND.
func (o *Objects) Environment(name string) (string, error) {
	if name == "" {
		name = MainEnvironment
	}
	_, err := o.Environments.GetOrCreate("", name, pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED, struct{}{})
	return name, err
}

// Variables resolves the sources in their order; later ones win. The error is NOT_FOUND.
func (o *Objects) Variables(sources []*pb.SecretSource) (map[string]string, error) {
	out := map[string]string{}
	for _, source := range sources {
		if !source.HasSecretId() {
			maps.Copy(out, source.GetEnv().GetContents())
			continue
		}
		secret, err := o.Secrets.Find(source.GetSecretId())
		if err != nil {
			return nil, err
		}
		maps.Copy(out, secret.Value)
	}
	return out, nil
}
