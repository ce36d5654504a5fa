package catalog

import (
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestGetOrCreate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		how    pb.ObjectCreationType
		object string
		code   codes.Code
		value  string
		old    bool // the id is the existing object's
	}{
		{"a look-up finds", pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED, "known", codes.OK, "old", true},
		{"a look-up makes nothing", pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED, "new", codes.NotFound, "", false},
		{"what exists is kept", pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING, "known", codes.OK, "old", true},
		{"what is missing is made", pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING, "new", codes.OK, "value", false},
		{"what exists is refused on request", pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS, "known", codes.AlreadyExists, "", false},
		{"what is missing is not refused", pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS, "new", codes.OK, "value", false},
		{"what exists is replaced on request", pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS, "known", codes.OK, "value", true},
		{"the ephemeral has no name", pb.ObjectCreationType_OBJECT_CREATION_TYPE_EPHEMERAL, "known", codes.OK, "value", false},
		{"a name is needed", pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING, "", codes.InvalidArgument, "", false},
		{"a type out of use is refused", pb.ObjectCreationType_OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP, "new", codes.InvalidArgument, "", false},
		{"an unknown type is refused", pb.ObjectCreationType(99), "new", codes.InvalidArgument, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDirectory[string]("thing", "th")
			d.put("main", "known", "old")
			known, err := d.GetOrCreate("main", "known", pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED, "")
			if err != nil {
				t.Fatalf("look up: %v", err)
			}
			got, err := d.GetOrCreate("main", tt.object, tt.how, "value")
			if status.Code(err) != tt.code || got.Value != tt.value || (got.ID == known.ID) != tt.old {
				t.Errorf("got %+v, %v; want %q, %v", got, err, tt.value, tt.code)
			}
			if err != nil {
				return
			}
			if found, err := d.Find(got.ID); err != nil || found != got {
				t.Errorf("find: %+v, %v; want %+v", found, err, got)
			}
			want := 2
			if tt.old {
				want = 1
			}
			if ids := d.In("main"); len(ids) != want {
				t.Errorf("ids %v, want %d", ids, want)
			}
		})
	}
}
