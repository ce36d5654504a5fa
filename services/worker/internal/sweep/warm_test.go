package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// Whatever happens to a worker at any of its calls: as many as are wanted wait in the end, never more run than may, none is left once none
// is wanted, and none ends that a runner has claimed.
func TestWarmSandboxesAreKeptThoughAWorkerFailsAtAnyCall(t *testing.T) {
	t.Parallel()
	for _, f := range []fault{diesBefore, diesAfter, fails, lost, late, freezes, claimed} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			for at := 1; ; at++ {
				happened := false
				synctest.Test(t, func(t *testing.T) { happened = story(t, f, at) })
				if t.Failed() {
					t.Fatalf("at call %d", at)
				}
				if !happened {
					if at < 30 {
						t.Errorf("%d calls were made, which is too few to tell", at)
					}
					return
				}
			}
		})
	}
}

// story has one worker keep sandboxes warm, to which something happens at its call at, and another that leads from then on, too. It
// reports whether there was such a call.
func story(t *testing.T, f fault, at int) bool {
	const most = 2
	h := newHeat(t)
	h.most = most
	one, other := &hand{heat: h, at: at, fault: f}, &hand{heat: h}
	var want atomic.Int64
	want.Store(most)
	pools := func() []sweep.WarmPool { return []sweep.WarmPool{warmPool(int(want.Load()))} }
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	lead := func() { working.Go(func() { one.keep(ctx, 8*time.Second, pools) }) }
	lead()
	time.Sleep(6 * time.Second)
	working.Go(func() { other.keep(ctx, time.Hour, pools) })
	time.Sleep(10 * time.Minute)
	mine := 0
	h.mu.Lock()
	for _, b := range h.boxes {
		if b.claimed {
			mine++
		}
	}
	if ready, n := ready(h.record()), h.running(); ready+mine != most || n != most {
		t.Errorf("%d wait and %d are a runner's, %d run, want %d: %+v", ready, mine, n, most, h.record().Warm)
	}
	h.mu.Unlock()
	want.Store(0)
	if !one.dead {
		lead()
	}
	time.Sleep(10 * time.Minute)
	h.mu.Lock()
	defer h.mu.Unlock()
	mine = 0
	for _, b := range h.boxes {
		if b.claimed {
			mine++
		}
	}
	if n := h.running(); n != mine || len(h.record().Warm) != 0 {
		t.Errorf("%d run, and %d of them are a runner's; on record are %+v", n, mine, h.record().Warm)
	}
	return one.n >= at
}

// ready is how many can be claimed.
func ready(r places.Record) (n int) {
	for _, w := range r.Warm {
		if w.Ready() {
			n++
		}
	}
	return n
}

// kept is a keeper whose record has the warm sandbox "w" so long after it was asked for, which is "sb-1" if it has an id.
func kept(t *testing.T, age time.Duration, want int, change func(*places.Warm), says func(*heated)) (*heat, *sweep.Warm) {
	t.Helper()
	h := newHeat(t)
	_, err := h.book.Change(t.Context(), func(r places.Record) places.Record {
		w := places.Warm{Place: places.Place{Ask: warmPool(0).Ask, Since: time.Now().Add(-age)}}
		change(&w)
		r.Warm = map[string]places.Warm{"w": w}
		return r
	})
	if err != nil {
		t.Fatal(err)
	}
	if says != nil {
		b := &heated{name: "w", at: time.Now().Add(-age)}
		says(b)
		h.boxes["sb-1"] = b
	}
	return h, keeper(&hand{heat: h}, func() []sweep.WarmPool { return []sweep.WarmPool{warmPool(want)} })
}

func made(w *places.Warm)     { w.Made = "sb-1" }
func asked(*places.Warm)      {}
func waitsOn1(w *places.Warm) { w.SandboxID = "sb-1" }
func says(e run.Evidence) func(*heated) {
	return func(b *heated) { b.says, b.over = e, e == run.Over }
}

func TestWhatBecomesOfAWarmSandboxOnItsWay(t *testing.T) {
	const limit = time.Minute // of its start
	none := func(r places.Record) string { return fmt.Sprintf("%d on record", len(r.Warm)) }
	for name, tt := range map[string]struct {
		age   time.Duration
		entry func(*places.Warm)
		box   func(*heated)
		fails bool
		want  string
	}{
		"it waits":                              {5 * time.Second, made, says(run.Warm), false, "ready sb-1"},
		"it waits, of which Modal's answer was": {5 * time.Second, asked, says(run.Warm), false, "ready sb-1"},
		"it boots":                              {limit - 1, made, says(run.Starting), false, "on its way"},
		"Modal has no machine yet":              {limit - 1, made, says(run.Unscheduled), false, "on its way"},
		"it boots for too long":                 {limit, made, says(run.Starting), false, "ends, failed: a warm sandbox did not come to wait for a runner within 1m0s: it is starting"},
		"Modal has no machine for too long":     {limit, asked, says(run.Unscheduled), false, "ends, failed: a warm sandbox did not come to wait for a runner within 1m0s: it is unscheduled"},
		"it ended":                              {5 * time.Second, made, says(run.Over), false, "ends, failed: its sandbox ended: failure, exit code 1"},
		"it ended long ago":                     {limit + 2*time.Minute, made, says(run.Over), false, "0 on record"},
		"it is a runner's":                      {5 * time.Second, made, says(run.HasJob), false, "0 on record"},
		"it is a runner's that is idle":         {limit, asked, says(run.Idle), false, "0 on record"},
		"there is none yet":                     {3*time.Minute - 1, asked, nil, false, "on its way"},
		"there will be none":                    {3 * time.Minute, asked, nil, false, "0 on record"},
		"it does not answer for long":           {limit + 5*time.Minute, made, func(b *heated) { b.err = errAway }, false, "ends, failed: a warm sandbox does not answer: it is away"},
		"it does not answer":                    {limit + 5*time.Minute - 1, made, func(b *heated) { b.err = errAway }, true, "on its way"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, w := kept(t, tt.age, 1, tt.entry, tt.box)
				report, err := w.RunOnce(t.Context())
				if errors.Is(err, errAway) != tt.fails {
					t.Fatal(err)
				}
				r := h.record()
				got, entry := none(r), r.Warm["w"]
				spoilt := map[sweep.Kind]int(nil)
				switch {
				case len(r.Warm) == 0:
				case entry.Ready():
					got = "ready " + entry.SandboxID
				case entry.Ends:
					got = "ends, failed: " + r.Pools["default"].Why
					spoilt = map[sweep.Kind]int{sweep.Spoilt: 1}
				default:
					got = "on its way"
				}
				if got != tt.want {
					t.Errorf("it %s, want %q", got, tt.want)
				}
				if diff := cmp.Diff(spoilt, report.Found); diff != "" {
					t.Errorf("found: %s", diff)
				}
				if b := h.boxes["sb-1"]; b != nil && b.over && tt.want != "" && b.says != run.Over {
					t.Error("it was ended")
				}
			})
		})
	}
}

// A record that was restored from a backup may have as warm what is a runner's by now.
func TestHowAWarmSandboxEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		entry func(*places.Warm)
		box   func(*heated)
		fails bool
		want  string
	}{
		"one that waits":                       {waitsOn1, says(""), false, "over, off the record"},
		"one that boots":                       {made, says(run.Starting), false, "over, off the record"},
		"one of which Modal's answer was lost": {asked, says(run.Starting), false, "over, off the record"},
		"one that is not scheduled":            {made, says(run.ReleasedNow), false, "over, off the record"},
		"one that has ended":                   {waitsOn1, says(run.Over), false, "over, off the record"},
		"one that works":                       {waitsOn1, says(run.HasJob), false, "runs, off the record"},
		"one that is a runner's":               {asked, says(run.Idle), false, "runs, off the record"},
		"one that starts a runner":             {waitsOn1, says(run.Starting), false, "runs, on record"},
		"one that does not answer":             {waitsOn1, func(b *heated) { b.err = errAway }, true, "runs, on record"},
		"one that was never made":              {func(w *places.Warm) { w.Since = time.Now().Add(-3 * time.Minute) }, nil, false, "none, off the record"},
		"one that may come late":               {asked, nil, false, "none, on record"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, w := kept(t, 10*time.Second, 0, tt.entry, tt.box)
				if _, err := w.RunOnce(t.Context()); errors.Is(err, errAway) != tt.fails {
					t.Fatal(err)
				}
				got := "none"
				if b := h.boxes["sb-1"]; b != nil {
					got = map[bool]string{true: "over", false: "runs"}[b.over]
				}
				w1, there := h.record().Warm["w"]
				if got += map[bool]string{true: ", on record", false: ", off the record"}[there]; got != tt.want {
					t.Errorf("it is %s, want %s", got, tt.want)
				}
				if there && !w1.Ends {
					t.Error("it can be claimed")
				}
			})
		})
	}
}

func TestOneThatIsToEndAndDoesNotAnswerIsEndedAfterAWhile(t *testing.T) {
	for name, box := range map[string]func(*heated){
		"it says nothing":        func(b *heated) { b.err = errAway },
		"it starts all the time": says(run.Starting),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, w := kept(t, 10*time.Second, 0, waitsOn1, box)
				_, _ = w.RunOnce(t.Context())
				time.Sleep(5*time.Minute - 1)
				_, _ = w.RunOnce(t.Context())
				if h.boxes["sb-1"].over {
					t.Fatal("it was ended too soon")
				}
				time.Sleep(time.Nanosecond)
				if _, err := w.RunOnce(t.Context()); err != nil || !h.boxes["sb-1"].over || len(h.record().Warm) != 0 {
					t.Errorf("%v, %+v, %+v", err, h.boxes["sb-1"], h.record().Warm)
				}
			})
		})
	}
}

// warming answers the calls for new sandboxes with an error.
type warming struct {
	*hand

	err error
}

func (f warming) Warm(ctx context.Context, name string, p run.Pool) (string, error) {
	if f.err != nil {
		return "", f.err
	}
	return f.hand.Warm(ctx, name, p)
}

func TestWhatAWarmSandboxThatIsNotMadeSaysOfItsPool(t *testing.T) {
	boom := errors.New("boom")
	limited := &run.LimitedError{Until: time.Now(), Err: boom}
	for name, tt := range map[string]struct {
		err, ready error
		entry      bool // is left on record
		want       string
		fails      bool
	}{
		"it is made":               {entry: true},
		"Modal has no room":        {err: limited, want: "slower"},
		"it is refused":            {err: &run.RefusedError{Err: boom}, want: "broken", fails: true},
		"it is never possible":     {err: &run.PermanentError{Err: boom}, want: "broken", fails: true},
		"it was not made":          {err: fmt.Errorf("%w: %w", run.ErrNotMade, boom), want: "unmade", fails: true},
		"it may have been made":    {err: boom, entry: true, want: "unmade", fails: true},
		"its name is there":        {err: run.ErrExists, entry: true, fails: true},
		"its image was just lost":  {err: &run.LimitedError{Err: run.ErrNoImage}},
		"its image is not built":   {ready: &run.LimitedError{Err: run.ErrNoImage}},
		"its image can't be built": {ready: &run.LimitedError{Err: run.ErrBadImage}, want: "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHeat(t)
				w := keeper(&hand{heat: h}, func() []sweep.WarmPool { return []sweep.WarmPool{warmPool(1)} })
				w.Fleet, w.Ready = warming{&hand{heat: h}, tt.err}, func(run.Pool) error { return tt.ready }
				if _, err := w.Fill(t.Context()); (err != nil) != tt.fails {
					t.Errorf("failed: %v", err)
				}
				r, pool := h.record(), h.record().Pools["default"]
				got := ""
				switch {
				case pool.Rate != 0:
					got = "slower"
				case pool.Breaker(time.Now()) == places.Open:
					got = "broken"
				case len(pool.Unmade) == 1:
					got = "unmade"
				}
				if got != tt.want || len(r.Warm) != map[bool]int{true: 1}[tt.entry] || len(r.Short) != 0 {
					t.Errorf("the pool is %q, want %q; on record %v, want one: %v; short %v", got, tt.want, r.Warm, tt.entry, r.Short)
				}
				for range 20 { // None is asked for while its pool is not well, and nothing is written that says nothing new.
					_, before, _ := h.book.Read(t.Context())
					if _, err := w.Fill(t.Context()); tt.want == "broken" && err != nil {
						t.Error(err)
					}
					if _, after, _ := h.book.Read(t.Context()); after != before && (tt.want == "broken" || tt.want == "slower" || tt.ready != nil) {
						t.Errorf("the record was changed again")
					}
				}
			})
		})
	}
}

// To find out that nothing is to be done costs no call to Modal, and where no pool keeps any, hardly one to NATS.
func TestAKeeperWithNothingToDoIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeat(t)
		want := []sweep.WarmPool{warmPool(2)}
		w := keeper(&hand{heat: h}, func() []sweep.WarmPool { return want })
		look := func(n int) {
			for range n {
				if _, err := w.RunOnce(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Fill(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
		}
		look(10)
		if ready(h.record()) != 2 {
			t.Fatalf("%+v", h.record().Warm)
		}
		h.calls = nil
		look(60)
		if got := strings.Join(slices.Compact(slices.Sorted(slices.Values(h.calls))), " "); got != "read" {
			t.Errorf("all are there, and it calls %q", got)
		}
		want = nil
		look(10)
		if h.running() != 0 || len(h.record().Warm) != 0 {
			t.Errorf("%d run, %+v", h.running(), h.record().Warm)
		}
		h.calls = nil
		look(60)
		if len(h.calls) > 7 {
			t.Errorf("no pool keeps any, and it makes %d calls in a minute", len(h.calls))
		}
	})
}

func TestHowManyWaitIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, w := kept(t, time.Minute, 2, waitsOn1, says(run.Warm))
		gpu := warmPool(1)
		gpu.Ask.Pool = "gpu"
		w.Pools = func() []sweep.WarmPool { return []sweep.WarmPool{warmPool(2), gpu} }
		if _, err := w.Fill(t.Context()); err != nil {
			t.Fatal(err)
		}
		report, err := w.RunOnce(t.Context())
		if want := map[string]int{"default": 1, "gpu": 0}; err != nil || !maps.Equal(report.Warm, want) {
			t.Errorf("%v wait of %+v, want %v; %v", report.Warm, h.record().Warm, want, err)
		}
	})
}

// A job must not wait long for the place of a sandbox that waits for jobs.
func TestWarmSandboxesMakeRoomWithinALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeat(t)
		h.most = 2
		hand := &hand{heat: h}
		pools := func() []sweep.WarmPool { return []sweep.WarmPool{warmPool(2)} }
		hand.keep(t.Context(), 10*time.Second, pools)
		other := wants
		other.Spec = ""
		take := func() (o *places.Obstacle) {
			_, _ = h.book.Change(t.Context(), func(r places.Record) places.Record {
				r, o = r.TakeWarm(other, keeper(hand, pools).Rules, time.Now())
				return r
			})
			return o
		}
		if o := take(); o == nil || o.Kind != places.Full {
			t.Fatalf("it waits for %v", o)
		}
		if _, err := keeper(hand, pools).RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute) // The line is forsaken in this test.
		if o := take(); o != nil || h.running() != 0 {
			t.Errorf("after one look %d run, and it waits for %v", h.running(), o)
		}
	})
}

func TestWarmSandboxesWithoutARecordGoAndRecordsWithoutASandboxToo(t *testing.T) {
	waits := func(r places.Record) places.Record {
		r.Warm = map[string]places.Warm{"w": {Place: places.Place{Ask: warmPool(0).Ask, Since: ago(old), SandboxID: "sb-1"}}}
		return r
	}
	claims := func(r places.Record) places.Record {
		r.Held = map[string]places.Place{"7.1": {Ask: wants, Since: ago(0), SandboxID: "sb-1"}}
		return r
	}
	since := func(age time.Duration, change func(*places.Warm)) func(places.Record) places.Record {
		return func(r places.Record) places.Record {
			w := places.Warm{Place: places.Place{Ask: warmPool(0).Ask, Since: ago(age)}}
			change(&w)
			r.Warm = map[string]places.Warm{"w": w}
			return r
		}
	}
	lists := func(changes ...func(*sweep.Sandbox)) func() []sweep.Sandbox {
		return func() []sweep.Sandbox {
			return box(append([]func(*sweep.Sandbox){func(s *sweep.Sandbox) { s.Name, s.Warm = run.Name{}, "w" }}, changes...)...)
		}
	}
	for name, tt := range map[string]struct {
		record func(places.Record) places.Record
		listed func() []sweep.Sandbox
		says   run.Evidence
		runs   bool // by its id
		kind   sweep.Kind
		ended  bool
		left   int // on record
	}{
		"one that waits, on record":                      {record: waits, listed: lists(), says: run.Warm, left: 1},
		"one on record that is on its way":               {record: since(old, asked), listed: lists(), says: run.Warm, left: 1},
		"one that is on record by its id":                {record: since(old, made), listed: lists(func(s *sweep.Sandbox) { s.Warm = "v" }), says: run.Warm, left: 1},
		"one that a runner has claimed":                  {record: claims, listed: lists(), says: run.Warm},
		"one without a record":                           {listed: lists(), says: run.Warm, kind: sweep.Stray, ended: true},
		"one that is young":                              {listed: lists(createdAgo(young - time.Second)), says: run.Warm},
		"one of another deployment":                      {listed: lists(foreign), says: run.Warm},
		"one without a record that is a runner's by now": {listed: lists(), says: run.HasJob},
		"or an idle one's":                               {listed: lists(), says: run.Idle},
		"one without a record that starts":               {listed: lists(), says: run.Starting, kind: sweep.Stray, ended: true},
		"one without a record that has ended":            {listed: lists()},
		"a record without a sandbox":                     {record: waits, kind: sweep.Cooled},
		"a record whose sandbox was not listed":          {record: waits, runs: true, left: 1},
		"a record that is young":                         {record: since(young-time.Second, waitsOn1), left: 1},
		"a record of one on its way":                     {record: since(time.Hour, made), left: 1},
		"a record of what is a runner's":                 {record: waits, listed: boxes(), says: run.HasJob},
		"a record of another that is":                    {record: since(0, made), listed: boxes(), says: run.Idle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{says: map[string]run.Evidence{}, fates: map[string]run.Fate{"sb-1": {Running: tt.runs}}}
				if tt.says != "" {
					w.says["sb-1"] = tt.says
				}
				if tt.listed != nil {
					w.sandboxes = tt.listed()
				}
				if tt.record != nil {
					if _, err := w.book.Change(t.Context(), tt.record); err != nil {
						t.Fatal(err)
					}
				}
				o := orphans(w)
				found := map[sweep.Kind]int{}
				report, err := o.RunOnce(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				delete(report.Found, sweep.Unrecorded)
				maps.Copy(found, report.Found)
				want := map[sweep.Kind]int{}
				if tt.kind != "" {
					want[tt.kind] = 1
				}
				if diff := cmp.Diff(want, found); diff != "" {
					t.Errorf("found: %s", diff)
				}
				if ended := w.count("terminate sb-1") > 0; ended != tt.ended {
					t.Errorf("it was ended: %v", ended)
				}
				if r, _, _ := w.book.Read(t.Context()); len(r.Warm) != tt.left {
					t.Errorf("on record: %+v", r.Warm)
				}
			})
		})
	}
}

// Between the list and the look at the record it may have been claimed, given, and be its runner's for all that is on record.
func TestAWarmSandboxThatWasListedJustBeforeItWasGivenIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{says: map[string]run.Evidence{"sb-1": run.Idle}, runners: []sweep.Record[run.Runner]{
			record(run.Runner{Name: name(1), State: run.Launched, Job: job(1), For: 1, SandboxID: "sb-1", LaunchedAt: time.Now()}, 0),
		}}
		o := orphans(w)
		w.sandboxes = box(func(s *sweep.Sandbox) { s.Name, s.Warm = run.Name{}, "w" })
		for range 2 {
			if _, err := o.RunOnce(t.Context()); err != nil || w.count("ask sb-1") != 0 {
				t.Errorf("it was asked to go: %v", err)
			}
			w.sandboxes = box()
			time.Sleep(15 * time.Second)
		}
	})
}

func TestAWarmSandboxWithoutARecordGoesThoughItDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{fail: map[string]error{"ask sb-1": errAway}}
		w.sandboxes = box(func(s *sweep.Sandbox) { s.Name, s.Warm = run.Name{}, "w" })
		if _, err := orphans(w).RunOnce(t.Context()); err != nil {
			t.Error(err)
		}
		if n := w.count("terminate sb-1"); n != 1 {
			t.Errorf("it was ended %d times", n)
		}
	})
}

// stopping is a worker that is told to stop during the call.
type stopping struct {
	*hand

	stop context.CancelFunc
}

func (s stopping) Warm(ctx context.Context, name string, p run.Pool) (string, error) {
	id, _ := s.hand.Warm(ctx, name, p)
	s.stop()
	if s.fault == lost {
		return "", context.Cause(ctx)
	}
	return id, nil
}

func TestAWorkerThatStopsSaysNothingAgainstAPool(t *testing.T) {
	for f, made := range map[fault]bool{lost: false, "": true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHeat(t)
			hand := &hand{heat: h, fault: f}
			w := keeper(hand, func() []sweep.WarmPool { return []sweep.WarmPool{warmPool(1)} })
			ctx, stop := context.WithCancel(t.Context())
			w.Fleet = stopping{hand, stop}
			if _, err := w.Fill(ctx); err != nil {
				t.Error(err)
			}
			r := h.record()
			for name, entry := range r.Warm {
				if (entry.Made != "") != made {
					t.Errorf("%q: %s is on record as %+v", f, name, entry)
				}
			}
			if len(r.Warm) != 1 || len(r.Pools["default"].Unmade) > 0 {
				t.Errorf("%q: on record are %+v, of the pool %+v", f, r.Warm, r.Pools)
			}
		})
	}
}
