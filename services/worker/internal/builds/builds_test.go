package builds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/records"
	"modal-github-runner/services/worker/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errDown = errors.New("server is down")
	want    = run.Build{Key: "k", Recipe: "r1", Name: "mine", Runner: "2.330.0"}
)

// memory is a bucket.
type memory struct {
	mu       sync.Mutex
	values   map[string]entry
	revision uint64
	down     bool
	mute     bool // Writes are done, and their answers lost.
}

type entry struct {
	jetstream.KeyValueEntry

	value    []byte
	revision uint64
}

func (e entry) Value() []byte    { return e.value }
func (e entry) Revision() uint64 { return e.revision }

func newMemory() *memory { return &memory{values: map[string]entry{}} }

func (m *memory) of(worker string) *Book {
	return &Book{worker, slog.New(slog.DiscardHandler), records.New(callTimeout, func(context.Context) (records.KV, error) { return m, nil })}
}

// Delete is what nobody does to an image's record.
func (m *memory) Delete(context.Context, string, ...jetstream.KVDeleteOpt) error { panic("deleted") }

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *memory) Get(_ context.Context, key string) (jetstream.KeyValueEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.values[key]
	switch {
	case m.down:
		return nil, errDown
	case !ok:
		return nil, jetstream.ErrKeyNotFound
	}
	return e, nil
}

func (m *memory) Create(ctx context.Context, key string, value []byte, _ ...jetstream.KVCreateOpt) (uint64, error) {
	return m.Update(ctx, key, value, 0)
}

func (m *memory) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return 0, errDown
	}
	if m.values[key].revision != revision {
		return 0, jetstream.ErrKeyRevisionMismatch
	}
	m.revision++
	m.values[key] = entry{value: value, revision: m.revision}
	if m.mute {
		return 0, errDown
	}
	return m.revision, nil
}

// takes is a build that takes so long and is counted.
func takes(d time.Duration, count *atomic.Int32, id string, err error) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		count.Add(1)
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(d):
		}
		return id, err
	}
}

// all has so many workers want the image at once, and returns what each got.
func (m *memory) all(t *testing.T, workers int, build func(context.Context) (string, error)) (ids []string, errs []error) {
	t.Helper()
	ids, errs = make([]string, workers), make([]error, workers)
	var wanting sync.WaitGroup
	for n := range workers {
		wanting.Go(func() { ids[n], errs[n] = m.of(fmt.Sprint("w", n)).Once(t.Context(), want, build) })
	}
	wanting.Wait()
	return ids, errs
}

func TestOfManyWorkersOneBuildsAndAllHaveTheImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, count := newMemory(), &atomic.Int32{}
		began := time.Now()
		ids, errs := m.all(t, 8, takes(10*time.Minute, count, "im-1", nil))
		if count.Load() != 1 || errors.Join(errs...) != nil || slices.ContainsFunc(ids, func(id string) bool { return id != "im-1" }) {
			t.Errorf("%d builds, %v, %v", count.Load(), ids, errs)
		}
		if late := time.Since(began) - 10*time.Minute; late > lastLook {
			t.Errorf("the last one had it %v after it was built", late)
		}
		ids, errs = m.all(t, 3, takes(time.Minute, count, "im-2", nil))
		if count.Load() != 1 || errors.Join(errs...) != nil || ids[2] != "im-1" {
			t.Errorf("whoever comes later: %d builds, %v, %v", count.Load(), ids, errs)
		}
	})
}

func TestABuildThatFailsFailsForAllThatWaitForItAndIsTriedByWhoComesThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, count := newMemory(), &atomic.Int32{}
		_, errs := m.all(t, 8, takes(time.Minute, count, "", &run.BuildError{Text: "make: no rule", Bad: true, Log: "long"}))
		for _, err := range errs {
			if failed, ok := errors.AsType[*run.BuildError](err); !ok || !failed.Bad || failed.Text != "make: no rule" {
				t.Errorf("got %v", err)
			}
		}
		if count.Load() != 1 {
			t.Errorf("%d builds", count.Load())
		}
		got, err := m.of("w9").Read(t.Context(), "k")
		if err != nil || got.Failure != "make: no rule" || !got.Bad || got.ID != "" || got.Builder != "" {
			t.Errorf("on record is %+v, %v", got, err)
		}
		id, err := m.of("w9").Once(t.Context(), want, takes(0, count, "im-2", nil))
		if id != "im-2" || err != nil || count.Load() != 2 {
			t.Errorf("later: %q, %v, %d builds", id, err, count.Load())
		}
	})
}

func TestAWorkerThatDiesWhileItBuildsIsNotWaitedForLongerThanItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, count := newMemory(), &atomic.Int32{}
		if _, err := m.of("dead").write(t.Context(), want, Record{Builder: "dead"}, 0); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		id, err := m.of("w1").Once(t.Context(), want, takes(0, count, "im-1", nil))
		if took := time.Since(began); id != "im-1" || err != nil || took < leaseTime || took > leaseTime+2*lastLook {
			t.Errorf("%q, %v after %v", id, err, took)
		}
	})
}

func TestAWorkerThatIsStoppedGivesTheBuildToAnotherAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, count := newMemory(), &atomic.Int32{}
		ctx, stop := context.WithCancel(t.Context())
		var building sync.WaitGroup
		building.Go(func() {
			if id, err := m.of("w1").Once(ctx, want, takes(time.Hour, count, "im-1", nil)); id != "" || !errors.Is(err, context.Canceled) {
				t.Errorf("stopped: %q, %v", id, err)
			}
		})
		synctest.Wait()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			began := time.Now()
			id, err := m.of("w2").Once(t.Context(), want, takes(0, count, "im-2", nil))
			if id != "im-2" || err != nil || time.Since(began) > time.Minute+lastLook {
				t.Errorf("the other: %q, %v after %v", id, err, time.Since(began))
			}
		})
		time.Sleep(time.Minute)
		stop()
		building.Wait()
		waiting.Wait()
	})
}

func TestABuildSurvivesAnOutageOfItsRecordAndAnswersThatGetLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, count := newMemory(), &atomic.Int32{}
		id, err := m.of("w1").Once(t.Context(), want, func(ctx context.Context) (string, error) {
			m.set(func() { m.mute = true })
			time.Sleep(renewEvery + time.Second)
			m.set(func() { m.mute, m.down = false, true })
			time.Sleep(renewEvery)
			m.set(func() { m.down = false })
			return takes(2*renewEvery, count, "im-1", nil)(ctx)
		})
		got, readErr := m.of("w2").Read(t.Context(), "k")
		if id != "im-1" || err != nil || readErr != nil || got.ID != "im-1" {
			t.Errorf("%q, %v; on record %+v, %v", id, err, got, readErr)
		}
		m.set(func() { m.down = true })
		if id, err := m.of("w3").Once(t.Context(), want, takes(0, count, "im-3", nil)); id != "" || !errors.Is(err, errDown) || count.Load() != 1 {
			t.Errorf("while the record can't be read: %q, %v", id, err)
		}
	})
}

func TestAnotherRecipeIsBuiltAnewAndALossIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, count := newMemory(), &atomic.Int32{}
		book := m.of("w1")
		once := func(b run.Build, made string) string {
			id, err := book.Once(t.Context(), b, takes(0, count, made, nil))
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		newer := want
		newer.Recipe = "r2"
		got := []string{once(want, "im-1"), once(newer, "im-2"), once(newer, "im-3")}
		for _, id := range []string{"im-1", "im-2"} { // The first is no longer on record.
			if err := book.Drop(t.Context(), "k", id); err != nil {
				t.Fatal(err)
			}
			got = append(got, once(newer, "im-4"))
		}
		if diff := cmp.Diff([]string{"im-1", "im-2", "im-2", "im-2", "im-4"}, got); diff != "" {
			t.Error(diff)
		}
		if err := book.Drop(t.Context(), "nobody's", "im-1"); err != nil {
			t.Error(err)
		}
	})
}

func TestTheRecordIsInTheBucketThatAllWorkersShare(t *testing.T) {
	server := natstest.Start(t)
	js := server.JetStream(t)
	log := slog.New(slog.DiscardHandler)
	if _, err := New(js, "w0", log).Read(t.Context(), "k"); err == nil {
		t.Error("read without a bucket")
	}
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	count := &atomic.Int32{}
	ids := sync.Map{}
	var wanting sync.WaitGroup
	for n := range 6 {
		wanting.Go(func() {
			id, err := New(js, fmt.Sprint("w", n), log).Once(t.Context(), want, takes(300*time.Millisecond, count, "im-1", nil))
			if err != nil {
				t.Error(err)
			}
			ids.Store(id, true)
		})
	}
	wanting.Wait()
	if all := maps.Collect(ids.Range); count.Load() != 1 || len(all) != 1 {
		t.Errorf("%d builds, %v", count.Load(), all)
	}
	got, err := New(js, "w9", log).Read(t.Context(), "k")
	if diff := cmp.Diff(Record{Recipe: "r1", Name: "mine", Runner: "2.330.0", ID: "im-1"}, got, cmpopts.IgnoreFields(Record{}, "Since")); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	kv, err := js.KeyValue(t.Context(), wire.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(t.Context(), "image.k"); err != nil {
		t.Error(err)
	}
}
