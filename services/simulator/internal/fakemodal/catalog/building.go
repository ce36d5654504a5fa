package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
)

// Login is what a private registry asks for.
type Login struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// SetFailing has every build that has the instruction fail from now on, after it said log; an empty one has it succeed.
func (im *Images) SetFailing(instruction, log string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.failing[instruction] = log
}

// SetRegistry makes a registry private.
func (im *Images) SetRegistry(host string, login Login) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.registries[host] = login
}

// outcome is what the build of a layer says, and how it fails, if it does. secret is what the registry's secret has. The caller holds mu.
func (im *Images) outcome(image *pb.Image, secret map[string]string) (log string, failure error) {
	commands := image.GetDockerfileCommands()
	if im.buildError != nil {
		failure = im.buildError(commands)
	}
	for n, command := range commands {
		log += fmt.Sprintf("Step %d: %s\n", n+1, command)
		if host, private := im.registryOf(command); private && !im.admits(host, image.GetImageRegistryConfig(), secret) {
			return log + "unauthorized: authentication required\n", fmt.Errorf("image of %s could not be pulled", host)
		}
		if said := im.failing[command]; said != "" {
			return log + said, errors.New("a step exited with 1")
		}
	}
	return log, failure
}

// registryOf is the host of the registry in a FROM instruction, and whether it is a private one.
func (im *Images) registryOf(command string) (host string, private bool) {
	reference, isFrom := strings.CutPrefix(command, "FROM ")
	host, _, hasHost := strings.Cut(reference, "/")
	_, private = im.registries[host]
	return host, isFrom && hasHost && private
}

func (im *Images) admits(host string, config *pb.ImageRegistryConfig, secret map[string]string) bool {
	return config.GetRegistryAuthType() == pb.RegistryAuthType_REGISTRY_AUTH_TYPE_STATIC_CREDS &&
		Login{Username: secret["REGISTRY_USERNAME"], Password: secret["REGISTRY_PASSWORD"]} == im.registries[host]
}

// ImageRecord is a layer that was built.
type ImageRecord struct {
	ID string `json:"id"`
	// Base is the id of the layer that it stands on, if it does not stand on a registry's.
	Base       string   `json:"base,omitempty"`
	Dockerfile []string `json:"dockerfile"`
}

// Layers are the layers that were built, in that order, without those that failed.
func (im *Images) Layers() []ImageRecord {
	im.mu.Lock()
	defer im.mu.Unlock()
	return slices.Clone(im.layers)
}
