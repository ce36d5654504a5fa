package intake_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/intake"
)

// bury gives jobs up, a minute after one another.
func (r *rig) bury(t *testing.T, ids ...int64) {
	t.Helper()
	for _, id := range ids {
		job := jobOfOurs()
		job.ID = id
		if err := r.publisher.Bury(t.Context(), job, "no room for "+strconv.FormatInt(id, 10)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
	}
}

func idsOf(letters []intake.Letter) (ids []string) {
	for _, letter := range letters {
		ids = append(ids, letter.ID)
	}
	return ids
}

func TestTheNewestDeadLettersAreListedAndTheRestCounted(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		reader := intake.NewReader(r.js)
		for _, tt := range []struct {
			buried []int64
			limit  int
			want   []string
			older  int
		}{
			{nil, 2, nil, 0},
			{[]int64{1}, 2, []string{"1"}, 0},
			{[]int64{2, 3, 1}, 2, []string{"1", "3"}, 1},
			{nil, 3, []string{"1", "3", "2"}, 0},
		} {
			r.bury(t, tt.buried...)
			letters, older, err := reader.Letters(t.Context(), tt.limit)
			if diff := cmp.Diff(tt.want, idsOf(letters)); err != nil || older != tt.older || diff != "" {
				t.Errorf("%v, %d older, want %d: %s", err, older, tt.older, diff)
			}
		}
		stream, err := r.js.Stream(t.Context(), wire.StreamDead)
		if err != nil {
			t.Fatal(err)
		}
		if left := stream.CachedInfo().State.Consumers; left != 0 {
			t.Errorf("%d consumers are left behind", left)
		}
	})
}

func TestMoreDeadLettersThanFitIntoOneBatchAreAllCounted(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		const letters, limit = 1203, 7
		for id := range int64(letters) {
			if _, err := r.js.PublishAsync(wire.DeadJobSubject(id+1), nil); err != nil {
				t.Fatal(err)
			}
		}
		<-r.js.PublishAsyncComplete()
		newest, older, err := intake.NewReader(r.js).Letters(t.Context(), limit)
		if err != nil || len(newest) != limit || older != letters-limit {
			t.Errorf("%d newest, %d older, %v", len(newest), older, err)
		}
	})
}

func TestADeadLetterTellsWhatWasGivenUp(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		began := time.Now()
		r.bury(t, 1)
		got, err := intake.NewReader(r.js).Letter(t.Context(), "1")
		want := intake.Letter{ID: "1", At: began, Reason: "no room for 1", Job: jobOfOurs()}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(intake.Letter{})); err != nil || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
	})
}

func TestTheDeadLetterOfAnUnreadableMessageIdentifiesIt(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 1, &script{})
		msg := &nats.Msg{Subject: wire.QueuedSubject(wire.DefaultPool), Data: []byte("canary"), Header: nats.Header{wire.HeaderSchema: {"1"}}}
		if _, err := r.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		wantVerdicts(t, w, "dead")
		got, err := intake.NewReader(r.js).Letter(t.Context(), "message-1")
		sum := sha256.Sum256([]byte("canary"))
		want := intake.Letter{ID: "message-1", Subject: "jobs.queued.default", Sequence: 1, SizeBytes: 6, SHA256: hex.EncodeToString(sum[:])}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(want), cmpopts.IgnoreFields(want, "At", "Reason")); err != nil || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
		if got.Reason == "" || got.At.IsZero() {
			t.Errorf("got %+v", got)
		}
	})
}

func TestADeadLetterThatIsRemovedIsGoneAndANewerOneOfItsJobStays(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		reader := intake.NewReader(r.js)
		r.bury(t, 1, 2)
		old, err := reader.Letter(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		r.bury(t, 1)
		wantLeft := func(want ...string) {
			t.Helper()
			left, _, err := reader.Letters(t.Context(), 9)
			if diff := cmp.Diff(want, idsOf(left)); err != nil || diff != "" {
				t.Errorf("%v: %s", err, diff)
			}
		}
		remove := func(letter intake.Letter) {
			t.Helper()
			if err := reader.Remove(t.Context(), letter); err != nil {
				t.Error(err)
			}
		}
		remove(old)
		wantLeft("1", "2")
		newer, err := reader.Letter(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		remove(newer)
		wantLeft("2")
		remove(newer) // Twice is once.
		wantLeft("2")
	})
}

func TestADeadLetterThatThereIsNotIsNamed(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		for _, id := range []string{"1", "message-1", "message-", "message-x", "x", "", "*", ">", "1.2"} {
			if _, err := intake.NewReader(r.js).Letter(t.Context(), id); !errors.Is(err, intake.ErrNoLetter) || !strings.Contains(err.Error(), strconv.Quote(id)) {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
}

func TestWhenAJobIsLookedAtNextIsKnown(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		reader := intake.NewReader(r.js)
		var due atomic.Pointer[time.Time]
		r.start(t, queuedConsumer, 1, &script{do: func(_ context.Context, n int, c call) (time.Time, error) {
			if n > 1 {
				return time.Time{}, nil
			}
			at := c.at.Add(time.Hour)
			due.Store(&at)
			return at, nil
		}})
		want := func(want time.Time) {
			t.Helper()
			if got, err := reader.NextLook(t.Context(), 1); err != nil || !got.Equal(want) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		}
		want(time.Time{})
		r.publish(t, queued(1))
		time.Sleep(time.Minute)
		want(*due.Load())
		time.Sleep(2 * time.Hour)
		want(time.Time{})
	})
}

func TestWhatCannotBeReadIsAnErrorAndNotNothing(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		reader := intake.NewReader(r.js)
		for _, subject := range []string{wire.DeadJobSubject(1), wire.LaterSubject(jobsv1.Action_ACTION_QUEUED, 1)} {
			if _, err := r.js.Publish(t.Context(), subject, []byte("\xff\xff")); err != nil {
				t.Fatal(err)
			}
		}
		_, _, list := reader.Letters(t.Context(), 1)
		_, one := reader.Letter(t.Context(), "1")
		_, next := reader.NextLook(t.Context(), 1)
		for _, stream := range []string{wire.StreamDead, wire.StreamJobs} {
			if err := r.js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
		}
		_, _, listNone := reader.Letters(t.Context(), 1)
		_, oneNone := reader.Letter(t.Context(), "1")
		_, nextNone := reader.NextLook(t.Context(), 1)
		removeNone := reader.Remove(t.Context(), intake.Letter{ID: "1"})
		for what, err := range map[string]error{
			"list of garbage": list, "garbage": one, "garbage ahead": next,
			"list of no stream": listNone, "letter of no stream": oneNone, "copy of no stream": nextNone, "removal from no stream": removeNone,
		} {
			if err == nil || errors.Is(err, intake.ErrNoLetter) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}
