package pools_test

import (
	"fmt"
	"testing"
	"time"
	_ "time/tzdata" // Some machines have no time zones of their own.

	"modal-github-runner/proto/pools"
)

// warm is what a file says in which a pool has that of warm.
func warm(t *testing.T, fields string) pools.Warm {
	t.Helper()
	f, err := pools.Parse(fmt.Appendf(nil, "pools: {p: {labels: [p], warm: {count: 3, %s}}}", fields))
	if err != nil {
		t.Fatal(err)
	}
	return f.Pools[0].Warm
}

// 2026-01-05 is a Monday. In Berlin clocks go from 02:00 to 03:00 on 2026-03-29, a Sunday, and back from 03:00 to 02:00 on 2026-10-25, one
// as well; in Santiago from 00:00 to 01:00 on 2026-09-06, a Sunday; Kolkata is half an hour off, and Kiritimati a day ahead of Honolulu.
func TestSandboxesAreWarmInTheirHours(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fields  string
		in, out []string // times in UTC
	}{
		"always":        {"", []string{"2026-01-05T00:00:00Z", "2026-07-04T23:59:59Z"}, nil},
		"on some days":  {"days: [mon, sat]", []string{"2026-01-05T00:00:00Z", "2026-01-10T23:59:59Z"}, []string{"2026-01-04T23:59:59Z", "2026-01-06T00:00:00Z"}},
		"at some hours": {`hours: "08:00-18:00"`, []string{"2026-01-05T08:00:00Z", "2026-01-10T17:59:59Z"}, []string{"2026-01-05T07:59:59Z", "2026-01-05T18:00:00Z"}},
		"until the day ends": {
			`days: [mon], hours: "18:00-24:00"`, []string{"2026-01-05T18:00:00Z", "2026-01-05T23:59:59Z"}, []string{"2026-01-06T00:00:00Z", "2026-01-05T00:00:00Z"},
		},
		"until midnight is until the day ends": {
			`days: [mon], hours: "18:00-00:00"`, []string{"2026-01-05T18:00:00Z", "2026-01-05T23:59:59Z"}, []string{"2026-01-06T00:00:00Z", "2026-01-05T00:00:00Z"},
		},
		"a night is of the day on which it begins": {
			`days: [mon, sun], hours: "22:00-06:00"`,
			[]string{"2026-01-05T22:00:00Z", "2026-01-06T05:59:59Z", "2026-01-05T05:59:59Z", "2026-01-04T22:00:00Z"},
			[]string{"2026-01-05T21:59:59Z", "2026-01-06T06:00:00Z", "2026-01-06T22:00:00Z", "2026-01-04T05:59:59Z", "2026-01-05T06:00:00Z"},
		},
		"by the clocks of a zone, in winter": {
			`days: [mon], hours: "08:00-18:00", time_zone: Europe/Berlin`,
			[]string{"2026-01-05T07:00:00Z", "2026-01-05T16:59:59Z"},
			[]string{"2026-01-05T06:59:59Z", "2026-01-05T17:00:00Z"},
		},
		"and in summer": {
			`days: [mon], hours: "08:00-18:00", time_zone: Europe/Berlin`,
			[]string{"2026-07-06T06:00:00Z", "2026-07-06T15:59:59Z"},
			[]string{"2026-07-06T05:59:59Z", "2026-07-06T16:00:00Z"},
		},
		"half an hour off": {
			`hours: "09:00-09:30", time_zone: Asia/Kolkata`, []string{"2026-01-05T03:30:00Z", "2026-01-05T03:59:59Z"}, []string{"2026-01-05T03:29:59Z", "2026-01-05T04:00:00Z"},
		},
		"on another day than in UTC": {
			"days: [mon], time_zone: Pacific/Kiritimati", []string{"2026-01-04T10:00:00Z", "2026-01-05T09:59:59Z"}, []string{"2026-01-04T09:59:59Z", "2026-01-05T10:00:00Z"},
		},
		"a night that is of the day before in UTC, too": {
			`days: [sun], hours: "22:00-06:00", time_zone: Pacific/Honolulu`,
			[]string{"2026-01-05T08:00:00Z", "2026-01-05T15:59:59Z"},
			[]string{"2026-01-05T07:59:59Z", "2026-01-05T16:00:00Z"},
		},
		"a time that is left out": {
			`hours: "02:00-03:00", time_zone: Europe/Berlin`, []string{"2026-03-28T01:00:00Z", "2026-03-30T00:00:00Z"}, []string{"2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"},
		},
		"a night that is an hour shorter": {
			`days: [sat], hours: "22:00-06:00", time_zone: Europe/Berlin`,
			[]string{"2026-03-28T21:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T03:59:59Z"},
			[]string{"2026-03-28T20:59:59Z", "2026-03-29T04:00:00Z"},
		},
		"the night after a day that begins at 01:00": {
			`days: [sun], hours: "22:00-06:00", time_zone: America/Santiago`,
			[]string{"2026-09-07T01:00:00Z", "2026-09-07T03:30:00Z", "2026-09-07T08:59:59Z"},
			[]string{"2026-09-06T04:30:00Z", "2026-09-07T00:59:59Z", "2026-09-07T09:00:00Z"},
		},
		"a time that comes twice": {
			`hours: "02:30-03:00", time_zone: Europe/Berlin`,
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T00:59:59Z", "2026-10-25T01:30:00Z"},
			[]string{"2026-10-25T00:29:59Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"},
		},
		"a night that is an hour longer": {
			`days: [sat], hours: "22:00-06:00", time_zone: Europe/Berlin`,
			[]string{"2026-10-24T20:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T04:59:59Z"},
			[]string{"2026-10-24T19:59:59Z", "2026-10-25T05:00:00Z"},
		},
	} {
		w := warm(t, test.fields)
		for want, times := range map[int][]string{3: test.in, 0: test.out} {
			for _, text := range times {
				at, err := time.Parse(time.RFC3339, text)
				if err != nil {
					t.Fatal(err)
				}
				// Where the clock of the worker stands must not matter.
				for _, zone := range []*time.Location{time.UTC, time.FixedZone("far", 14*3600)} {
					if got := w.At(at.In(zone)); got != want {
						t.Errorf("%s: %d at %v, want %d", name, got, at.In(zone), want)
					}
				}
			}
		}
	}
	if (pools.Warm{}).At(time.Now()) != 0 {
		t.Error("a pool that says nothing of it has warm sandboxes")
	}
}

func TestTheTableShowsWhatIsWarm(t *testing.T) {
	t.Parallel()
	for fields, want := range map[string]string{
		"":                        "3",
		"time_zone: Asia/Kolkata": "3",
		`days: [mon, sun]`:        "3 mon,sun UTC",
		`days: [mon], hours: "22:00-06:00", time_zone: Europe/Berlin`: "3 mon 22:00-06:00 Europe/Berlin",
	} {
		if got := warm(t, fields).String(); got != want {
			t.Errorf("%s: %q, want %q", fields, got, want)
		}
	}
	if got := (pools.Warm{}).String(); got != "-" {
		t.Errorf("none: %q", got)
	}
}
