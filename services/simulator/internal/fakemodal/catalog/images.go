package catalog

import (
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Image is one layer, built or being built.
type Image struct {
	ID string
	// BuiltAt is when the build ends.
	BuiltAt time.Time
	log     string
	failure error // how it ends
	version string
}

func (i *Image) building() bool { return time.Now().Before(i.BuiltAt) }

// Log is what its build said.
func (i *Image) Log() string { return i.log }

// Failed reports whether the build ends without an image.
func (i *Image) Failed() bool { return i.failure != nil }

// Result returns nil while the image is being built.
func (i *Image) Result() *pb.GenericResult {
	if i.building() {
		return nil
	}
	if i.failure != nil {
		return pb.GenericResult_builder{
			Status: pb.GenericResult_GENERIC_STATUS_FAILURE, Exception: i.failure.Error(), Exitcode: 1,
		}.Build()
	}
	return pb.GenericResult_builder{Status: pb.GenericResult_GENERIC_STATUS_SUCCESS}.Build()
}

// Metadata describes the image.
func (i *Image) Metadata() *pb.ImageMetadata {
	return pb.ImageMetadata_builder{ImageBuilderVersion: &i.version}.Build()
}

// Images are the layers that were asked for, and the names under which some were published. They are
// safe for concurrent use.
type Images struct {
	buildTime  time.Duration
	buildError func(dockerfile []string) error

	mu       sync.Mutex
	byID     map[string]*Image
	byRecipe map[[sha256.Size]byte]*Image
	tags     map[scope]string // to the id
	builds   int
	layers   []ImageRecord
	// failing are instructions by what their builds say, registries the private ones.
	failing    map[string]string
	registries map[string]Login
}

// NewImages returns a workspace without images. A layer takes buildTime to build and then fails if buildError, which
// may be nil, says so of its Dockerfile commands.
func NewImages(buildTime time.Duration, buildError func([]string) error) *Images {
	return &Images{
		buildTime: buildTime, buildError: buildError,
		byID: map[string]*Image{}, byRecipe: map[[sha256.Size]byte]*Image{}, tags: map[scope]string{},
		failing: map[string]string{}, registries: map[string]Login{},
	}
}

// Count returns how many layers were built, including those that failed.
func (im *Images) Count() int {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.builds
}

// Build returns the layer of the recipe, and starts to build it unless that was done before. A build that failed is
// done anew. secret has the variables of the registry's secret, if there is one.
func (im *Images) Build(req *pb.ImageGetOrCreateRequest, secret map[string]string) (*Image, error) {
	recipe, err := recipeOf(req)
	if err != nil {
		return nil, err
	}
	for _, base := range req.GetImage().GetBaseImages() {
		if _, err := im.Built(base.GetImageId()); err != nil {
			return nil, err
		}
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if known, ok := im.byRecipe[recipe]; ok && !req.GetForceBuild() && !req.GetIgnoreCache() && (known.building() || known.failure == nil) {
		return known, nil
	}
	im.builds++
	made := &Image{ID: newID("im"), BuiltAt: time.Now().Add(im.buildTime), version: req.GetBuilderVersion()}
	made.log, made.failure = im.outcome(req.GetImage(), secret)
	if made.failure == nil {
		layer := ImageRecord{ID: made.ID, Dockerfile: req.GetImage().GetDockerfileCommands()}
		for _, base := range req.GetImage().GetBaseImages() {
			layer.Base = base.GetImageId()
		}
		im.layers = append(im.layers, layer)
	}
	im.byID[made.ID] = made
	if !req.GetIgnoreCache() {
		im.byRecipe[recipe] = made
	}
	return made, nil
}

// recipeOf identifies all that decides what an image becomes.
func recipeOf(req *pb.ImageGetOrCreateRequest) ([sha256.Size]byte, error) {
	recipe, err := proto.MarshalOptions{Deterministic: true}.Marshal(req.GetImage())
	if err != nil {
		return [sha256.Size]byte{}, status.Errorf(codes.InvalidArgument, "image: %v", err)
	}
	return sha256.Sum256(append(recipe, req.GetBuilderVersion()...)), nil
}

// Find returns the image, or NOT_FOUND.
func (im *Images) Find(id string) (*Image, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if i, ok := im.byID[id]; ok {
		return i, nil
	}
	return nil, status.Errorf(codes.NotFound, "image %q not found", id)
}

// Built returns the image if a sandbox, or another layer, can be based on it; else NOT_FOUND or
// FAILED_PRECONDITION.
func (im *Images) Built(id string) (*Image, error) {
	i, err := im.Find(id)
	if err != nil {
		return nil, err
	}
	if i.building() || i.failure != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "image %q is not built", id)
	}
	return i, nil
}

// Publish gives an image that is built a name, "[environment/]name[:tag]".
func (im *Images) Publish(environment, ref, id string) error {
	if _, err := im.Built(id); err != nil {
		return err
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.tags[imageRef(environment, ref)] = id
	return nil
}

// Published returns the id of the image with the name, or NOT_FOUND.
func (im *Images) Published(environment, ref string) (string, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	at := imageRef(environment, ref)
	if id, ok := im.tags[at]; ok {
		return id, nil
	}
	return "", status.Errorf(codes.NotFound, "image %q not found in environment %q", at.name, at.environment)
}

// imageRef reads "[[workspace/]environment/]name[:tag]", where the tag is "latest" by default. There is one workspace,
// which clients leave out.
func imageRef(environment, ref string) scope {
	if slash := strings.LastIndex(ref, "/"); slash >= 0 {
		environment, ref = ref[:slash], ref[slash+1:]
	}
	if !strings.Contains(ref, ":") {
		ref += ":latest"
	}
	return scope{environment, ref}
}
