package controlplane

import (
	"context"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"

	"modal-github-runner/services/simulator/internal/fakemodal/wire"
)

// ImageGetOrCreate answers with the layer's id at once, and with the build's result if it has ended well. One that failed was begun
// anew, and who joins it hears what it says.
func (c *ControlPlane) ImageGetOrCreate(_ context.Context, req *pb.ImageGetOrCreateRequest) (*pb.ImageGetOrCreateResponse, error) {
	if _, err := c.Objects.Apps.Find(req.GetAppId()); err != nil {
		return nil, err
	}
	if _, err := c.Objects.Variables(secretIDs(req.GetImage().GetSecretIds())); err != nil {
		return nil, err
	}
	login, err := c.Objects.Variables(secretIDs(registrySecret(req.GetImage())))
	if err != nil {
		return nil, err
	}
	image, err := c.Images.Build(req, login)
	if err != nil {
		return nil, err
	}
	answer := pb.ImageGetOrCreateResponse_builder{ImageId: image.ID, Metadata: image.Metadata()}
	if !image.Failed() {
		answer.Result = image.Result()
	}
	return answer.Build(), nil
}

// registrySecret is the id of the secret that logs in to the base's registry, if there is one.
func registrySecret(image *pb.Image) []string {
	if id := image.GetImageRegistryConfig().GetSecretId(); id != "" {
		return []string{id}
	}
	return nil
}

// ImageJoinStreaming sends what the build says and its result when there is one. It ends without after the request's timeout; the
// client then calls again.
func (c *ControlPlane) ImageJoinStreaming(req *pb.ImageJoinStreamingRequest, stream grpc.ServerStreamingServer[pb.ImageJoinStreamingResponse]) error {
	image, err := c.Images.Find(req.GetImageId())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(stream.Context(), min(time.Until(image.BuiltAt), wire.Seconds(req.GetTimeout())))
	defer cancel()
	<-ctx.Done()
	result := image.Result()
	if result == nil {
		return nil
	}
	if req.GetLastEntryId() == "" {
		said := pb.TaskLogs_builder{Data: image.Log(), FileDescriptor: pb.FileDescriptor_FILE_DESCRIPTOR_STDOUT}.Build()
		if err := stream.Send(pb.ImageJoinStreamingResponse_builder{TaskLogs: []*pb.TaskLogs{said}, EntryId: "1-0"}.Build()); err != nil {
			return err
		}
	}
	return stream.Send(pb.ImageJoinStreamingResponse_builder{
		Result: result, EntryId: "2-0", Eof: true, Metadata: image.Metadata(),
	}.Build())
}

// ImageFromId finds an image.
//
//nolint:revive // the generated interface spells it so
func (c *ControlPlane) ImageFromId(_ context.Context, req *pb.ImageFromIdRequest) (*pb.ImageFromIdResponse, error) {
	image, err := c.Images.Find(req.GetImageId())
	if err != nil {
		return nil, err
	}
	return pb.ImageFromIdResponse_builder{ImageId: image.ID, Metadata: image.Metadata()}.Build(), nil
}

// ImagePublish gives an image a name.
func (c *ControlPlane) ImagePublish(_ context.Context, req *pb.ImagePublishRequest) (*pb.ImagePublishResponse, error) {
	environment, err := c.Objects.Environment(req.GetEnvironmentName())
	if err != nil {
		return nil, err
	}
	if err := c.Images.Publish(environment, req.GetTag(), req.GetImageId()); err != nil {
		return nil, err
	}
	return pb.ImagePublishResponse_builder{ImageId: req.GetImageId()}.Build(), nil
}

// ImageGetByTag finds an image that was published.
func (c *ControlPlane) ImageGetByTag(_ context.Context, req *pb.ImageGetByTagRequest) (*pb.ImageGetByTagResponse, error) {
	environment, err := c.Objects.Environment(req.GetEnvironmentName())
	if err != nil {
		return nil, err
	}
	id, err := c.Images.Published(environment, req.GetTag())
	if err != nil {
		return nil, err
	}
	return pb.ImageGetByTagResponse_builder{ImageId: id}.Build(), nil
}
