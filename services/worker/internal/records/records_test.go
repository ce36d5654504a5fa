package records_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/worker/internal/records"
	"modal-github-runner/services/worker/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type note struct{ Text string }

func TestARecordChangesByCompareAndSetOnly(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream(t)
	b := records.Named(js, "notes", 5*time.Second)
	if _, _, err := b.Get(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), "open bucket notes: ") {
		t.Errorf("a bucket that is not there: %v", err)
	}
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "notes"})
	if err != nil {
		t.Fatal(err)
	}
	if got, revision, err := records.Load[note](t.Context(), b, "one"); err != nil || revision != 0 || got != (note{}) {
		t.Errorf("before there is any: %v at %d, %v", got, revision, err)
	}
	first, err := records.Save(t.Context(), b, "one", note{"first"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, revision := range []uint64{0, first + 1} {
		if _, err := records.Save(t.Context(), b, "one", note{"late"}, revision); !errors.Is(err, run.ErrConflict) {
			t.Errorf("in the place of revision %d: %v", revision, err)
		}
	}
	second, err := records.Save(t.Context(), b, "one", note{"second"}, first)
	if err != nil {
		t.Fatal(err)
	}
	if got, revision, err := records.Load[note](t.Context(), b, "one"); err != nil || revision != second || got != (note{"second"}) {
		t.Errorf("%v at %d, %v; want the second at %d", got, revision, err, second)
	}
	if err := b.Delete(t.Context(), "one", first); !errors.Is(err, run.ErrConflict) {
		t.Errorf("deletes what is there no more: %v", err)
	}
	if err := b.Delete(t.Context(), "one", second); err != nil {
		t.Errorf("deletes: %v", err)
	}
	if got, revision, err := records.Load[note](t.Context(), b, "one"); err != nil || revision != 0 || got != (note{}) {
		t.Errorf("after it was deleted: %v at %d, %v", got, revision, err)
	}
	if _, err := records.Save(t.Context(), b, "one", note{"third"}, 0); err != nil {
		t.Errorf("begins anew: %v", err)
	}
	if _, err := kv.PutString(t.Context(), "one", `{"Text":`); err != nil {
		t.Fatal(err)
	}
	if _, _, err := records.Load[note](t.Context(), b, "one"); err == nil || !strings.Contains(err.Error(), "decode one at revision 5: ") {
		t.Errorf("one that can't be read: %v", err)
	}
}
