package ledger_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connected is a ledger on a server of its own, connected as the worker is.
func connected(t *testing.T) (*ledger.Ledger, jetstream.JetStream, *natstest.Server) {
	t.Helper()
	server := natstest.Start(t)
	at, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := natsx.Connect(natsx.Config{URL: []*url.URL{at}}, natsx.Options{
		Name: "test", Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	return ledger.New(js), js, server
}

// filled returns a T in which no field is zero, at any depth. It refuses types that a record may not hold, such as a
// secret's.
func filled[T any](t *testing.T) T {
	t.Helper()
	var record T
	n := 0
	fill(t, reflect.ValueOf(&record).Elem(), &n)
	return record
}

func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, *n, 123456789, time.UTC)))
		return
	}
	switch v.Kind() { //nolint:exhaustive // a kind that records begin to use fails below
	case reflect.String:
		v.SetString(v.Type().Name() + strings.Repeat("x", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) << 32) // More than a JSON number keeps when it is read as a float of 32 bits.
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.1) // As prices are.
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Struct:
		if !strings.HasSuffix(v.Type().PkgPath(), "/worker/internal/run") {
			t.Fatalf("a record holds a %s", v.Type())
		}
		for _, field := range v.Fields() {
			fill(t, field, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	default:
		t.Fatalf("a record holds a %s", v.Type())
	}
}

func TestARecordComesBackAsItWasSaved(t *testing.T) {
	t.Parallel()
	l, _, _ := connected(t)
	job, runner := filled[run.Run](t), filled[run.Runner](t)
	revision, err := l.SaveRun(t.Context(), job, 0)
	if err != nil {
		t.Fatal(err)
	}
	gotJob, at, err := l.LoadRun(t.Context(), job.Job.ID)
	if diff := cmp.Diff(job, gotJob); err != nil || at != revision || diff != "" {
		t.Errorf("run at %d, %v, want at %d: %s", at, err, revision, diff)
	}
	if revision, err = l.SaveRunner(t.Context(), runner, 0); err != nil {
		t.Fatal(err)
	}
	gotRunner, at, err := l.LoadRunner(t.Context(), runner.Name)
	if diff := cmp.Diff(runner, gotRunner); err != nil || at != revision || diff != "" {
		t.Errorf("runner at %d, %v, want at %d: %s", at, err, revision, diff)
	}
}

// records is what both kinds of record have in common.
type records struct {
	name string
	load func(ctx context.Context) (state string, revision uint64, err error)
	save func(ctx context.Context, state string, revision uint64) (uint64, error)
}

// both are the record of job 1 and that of its first runner.
func both(l *ledger.Ledger) []records {
	return []records{
		{
			"of a job",
			func(ctx context.Context) (string, uint64, error) {
				r, revision, err := l.LoadRun(ctx, 1)
				return string(r.State), revision, err
			},
			func(ctx context.Context, state string, revision uint64) (uint64, error) {
				return l.SaveRun(ctx, run.Run{Job: run.Job{ID: 1}, State: run.State(state)}, revision)
			},
		},
		{
			"of a runner",
			func(ctx context.Context) (string, uint64, error) {
				r, revision, err := l.LoadRunner(ctx, run.Name{Job: 1, Attempt: 1})
				return string(r.State), revision, err
			},
			func(ctx context.Context, state string, revision uint64) (uint64, error) {
				return l.SaveRunner(ctx, run.Runner{Name: run.Name{Job: 1, Attempt: 1}, State: run.RunnerState(state)}, revision)
			},
		},
	}
}

// want checks the record as it is stored.
func (r records) want(t *testing.T, state string, revision uint64) {
	t.Helper()
	got, at, err := r.load(t.Context())
	if got != state || at != revision || err != nil {
		t.Errorf("got %q at %d, %v, want %q at %d", got, at, err, state, revision)
	}
}

func TestARecordChangesOnlyFromTheRevisionThatWasLoaded(t *testing.T) {
	t.Parallel()
	l, _, _ := connected(t)
	for _, r := range both(l) {
		t.Run(r.name, func(t *testing.T) {
			save := func(state string, revision uint64) uint64 {
				next, err := r.save(t.Context(), state, revision)
				if err != nil || next <= revision {
					t.Fatalf("save %q at %d: %d, %v", state, revision, next, err)
				}
				return next
			}
			refused := func(state string, revision uint64) {
				if next, err := r.save(t.Context(), state, revision); !errors.Is(err, run.ErrConflict) || next != 0 {
					t.Errorf("save %q at %d: %d, %v, want a conflict", state, revision, next, err)
				}
			}
			r.want(t, "", 0)
			refused("updated before it exists", 7)
			first := save("one", 0)
			r.want(t, "one", first)
			refused("created twice", 0)
			second := save("two", first)
			refused("from an old revision", first)
			refused("from a revision yet to come", second+1)
			r.want(t, "two", second)
			save("two", second) // Saving what is there is a change, too.
		})
	}
}

func TestOfManyWritersEachChangeIsKept(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F37")
	l, _, _ := connected(t)
	const writers, changes = 4, 10
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for done := 0; done < changes; {
				r, revision, err := l.LoadRun(t.Context(), 1)
				if err != nil {
					t.Error(err)
					return
				}
				r.Job.ID = 1
				r.Attempts++
				_, err = l.SaveRun(t.Context(), r, revision)
				switch {
				case err == nil:
					done++
				case !errors.Is(err, run.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
	if r, _, err := l.LoadRun(t.Context(), 1); err != nil || r.Attempts != writers*changes {
		t.Errorf("%d changes are left, %v, want %d", r.Attempts, err, writers*changes)
	}
}

func TestRecordsOutliveARestartOfTheServer(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F29")
	l, _, server := connected(t)
	revisions := make([]uint64, 2)
	for n, r := range both(l) {
		var err error
		if revisions[n], err = r.save(t.Context(), "kept", 0); err != nil {
			t.Fatal(err)
		}
	}
	server.Stop()
	for n, r := range both(l) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if state, at, err := r.load(ctx); err == nil {
			t.Errorf("without a server it loads as %q at %d", state, at)
		}
		if _, err := r.save(ctx, "lost", revisions[n]); err == nil || errors.Is(err, run.ErrConflict) {
			t.Errorf("without a server saving says %v", err)
		}
		cancel()
	}
	server.Restart(t)
	for n, r := range both(l) {
		for deadline := time.Now().Add(30 * time.Second); ; {
			_, _, err := r.load(t.Context())
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the server is back, and still: %v", err)
			}
		}
		r.want(t, "kept", revisions[n])
		if _, err := r.save(t.Context(), "changed", revisions[n]); err != nil {
			t.Error(err)
		}
	}
}

func TestABucketThatComesLaterIsFound(t *testing.T) {
	t.Parallel()
	l, js, _ := connected(t)
	if err := js.DeleteKeyValue(t.Context(), wire.BucketRuns); err != nil {
		t.Fatal(err)
	}
	for _, r := range both(l) {
		_, _, errLoad := r.load(t.Context())
		_, errSave := r.save(t.Context(), "lost", 0)
		for _, err := range []error{errLoad, errSave} {
			if err == nil || !strings.Contains(err.Error(), "open bucket runs") {
				t.Errorf("%s: %v", r.name, err)
			}
		}
	}
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	for _, r := range both(l) {
		revision, err := r.save(t.Context(), "new", 0)
		if err != nil {
			t.Fatal(err)
		}
		r.want(t, "new", revision)
	}
}

func TestARecordThatCannotBeReadIsNamedAndNotOverwritten(t *testing.T) {
	t.Parallel()
	l, js, _ := connected(t)
	bucket, err := js.KeyValue(t.Context(), wire.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	for n, key := range []string{wire.JobKey(1), wire.RunnerKey(1, 1)} {
		if _, err := bucket.PutString(t.Context(), key, `{"state":`); err != nil {
			t.Fatal(err)
		}
		r := both(l)[n]
		if _, _, err := r.load(t.Context()); err == nil || !strings.Contains(err.Error(), "decode "+key+" at revision ") {
			t.Errorf("%s: %v", key, err)
		}
		if _, err := r.save(t.Context(), "new", 0); !errors.Is(err, run.ErrConflict) {
			t.Errorf("%s: %v, want a conflict", key, err)
		}
	}
}

// A record that the bucket let go counts as none.
func TestARecordThatWasDeletedIsNone(t *testing.T) {
	t.Parallel()
	l, js, _ := connected(t)
	bucket, err := js.KeyValue(t.Context(), wire.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	r := both(l)[0]
	if _, err := r.save(t.Context(), "old", 0); err != nil {
		t.Fatal(err)
	}
	if err := bucket.Delete(t.Context(), wire.JobKey(1), jetstream.LastRevision(0)); err != nil {
		t.Fatal(err)
	}
	r.want(t, "", 0)
	revision, err := r.save(t.Context(), "new", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.want(t, "new", revision)
}

// What the ledger says of when a record changed goes by the clock that it tells.
func TestTheLedgerTellsItsTime(t *testing.T) {
	l, _, server := connected(t)
	before := time.Now()
	at, err := l.Now(t.Context())
	if err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("it is %v, %v; want between %v and now", at, err, before)
	}
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if at, err := l.Now(ctx); err == nil {
		t.Errorf("it is %v, though there is no server", at)
	}
}
