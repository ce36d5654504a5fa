package controlplane

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func FuzzParseEntryID(f *testing.F) {
	for _, id := range []string{"", "0-0", "17-0", "-1-0", "+1-0", "01-0", "1-1", "1", "-0", "99999999999999999999-0"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		seq, err := parseEntryID(id)
		switch {
		case err != nil && (status.Code(err) != codes.InvalidArgument || seq != 0):
			t.Errorf("parse %q: %d, %v; want INVALID_ARGUMENT", id, seq, err)
		case err == nil && id != "" && entryID(seq) != id:
			t.Errorf("parse %q: %d, which is written %q", id, seq, entryID(seq))
		}
	})
}
