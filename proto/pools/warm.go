package pools

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// WarmExtra is how much longer than the pool's timeout a sandbox may live that waits for a job first.
	WarmExtra = 2 * time.Hour
	// longest is the longest timeout that Modal takes (modal.com/docs/guide/sandbox).
	longest = 24 * time.Hour
)

// Warm is how many sandboxes of a pool wait for a job ahead of time, on some days and at some hours by the clocks of a time zone. A
// clock that is set back shows some times twice, and one that is set forward some never: so often they are within the hours.
type Warm struct {
	// Count is zero for none.
	Count int `doc:"how many wait at a time" max:"1000" min:"0" required:"true" yaml:"count"`
	// Days are mon to sun; empty is all of them.
	Days []string `doc:"days of the week on which they wait, such as [mon, tue, wed, thu, fri]; absent: all" form:"day" max:"7" min:"1" yaml:"days"`
	// Hours are two times of a day: the first is within them, the second is not, and is of the next day if it is the earlier one. They
	// belong to the day on which they begin. Empty is all day.
	Hours string `doc:"when on these days they wait, such as 08:00-18:00, or 22:00-06:00 until the next day; absent: all day" form:"hours" yaml:"hours"`
	// Zone is nil for UTC.
	Zone *time.Location `doc:"time zone of days and hours by its IANA name, such as Europe/Berlin; absent: UTC" form:"zone" yaml:"time_zone"`
}

// At is how many are to wait at that time.
func (w Warm) At(t time.Time) int {
	t = t.In(w.zone())
	clock, day := t.Format(clockForm), t.Weekday()
	if begins, ends, limited := strings.Cut(w.Hours, "-"); limited {
		within := begins <= clock && clock < ends
		if ends < begins {
			within = begins <= clock || clock < ends
			if clock < ends {
				day = (day + 6) % 7 // The day before, on which that time may have been left out.
			}
		}
		if !within {
			return 0
		}
	}
	if len(w.Days) > 0 && !slices.Contains(w.Days, strings.ToLower(day.String()[:len("mon")])) {
		return 0
	}
	return w.Count
}

// clockForm has times of a day in their order as texts, too.
const clockForm = "15:04"

func (w Warm) zone() *time.Location {
	if w.Zone == nil {
		return time.UTC
	}
	return w.Zone
}

// String is for operators.
func (w Warm) String() string {
	text := orDash(float64(w.Count))
	if len(w.Days) > 0 {
		text += " " + strings.Join(w.Days, ",")
	}
	if w.Hours != "" {
		text += " " + w.Hours
	}
	if len(w.Days) > 0 || w.Hours != "" {
		text += " " + w.zone().String()
	}
	return text
}

// warmForm returns the form of a text in a [Warm].
func warmForm(name string) form {
	switch name {
	case "day":
		return form{regexp.MustCompile(`^(mon|tue|wed|thu|fri|sat|sun)$`), "must be mon, tue, wed, thu, fri, sat or sun", nil}
	case "hours":
		const clock = `([01][0-9]|2[0-3]):[0-5][0-9]`
		return form{regexp.MustCompile("^" + clock + "-(" + clock + "|24:00)$"), errHours.Error(), setHours}
	default: // zone
		return form{regexp.MustCompile(`^[A-Z][A-Za-z0-9_+-]{0,31}(/[A-Z][A-Za-z0-9_+-]{0,31}){0,2}$`), errZone.Error(), setZone}
	}
}

var (
	errHours = errors.New("must be two times of a day that differ, such as 08:00-18:00 or 22:00-06:00")
	errZone  = errors.New("must be a time zone's IANA name, such as Europe/Berlin")
)

func setHours(to reflect.Value, text string) error {
	if begins, ends, _ := strings.Cut(text, "-"); begins == ends {
		return errHours
	}
	to.SetString(text)
	return nil
}

func setZone(to reflect.Value, text string) error {
	zone, err := time.LoadLocation(text)
	if err != nil || text == "Local" { // Local is another one on each machine.
		return errZone
	}
	to.Set(reflect.ValueOf(zone))
	return nil
}

// checkWarm applies the rules across fields.
func (f *File) checkWarm(r *reader, at string, p Pool) {
	if !r.given(at + "warm") {
		return
	}
	if r.given(at + "cache") {
		r.across(at+"warm", "must not be in a pool with cache: a sandbox that waits does not know whose it will need", "")
	}
	if most := longest - WarmExtra; p.Timeout > most {
		r.across(at+"timeout", fmt.Sprintf("must be at most %v in a pool with warm, since Modal lets no sandbox live longer than %v", most, longest),
			p.Timeout.String(), at+"timeout")
	}
	count, price := at+"warm.count", []string{at + "warm", at + "cpu", at + "memory", at + "gpu", at + "regions", "prices"}
	cost := float64(p.Warm.Count) * p.Warm.aDay().Seconds() * p.PricePerSecond(f.Prices)
	for _, of := range []struct {
		Limit

		at, whose string
	}{{p.Limit, at, "its pool's"}, {f.Limit, "", "all pools'"}} {
		if of.MaxSandboxes != 0 && p.Warm.Count > of.MaxSandboxes {
			r.across(count, fmt.Sprintf("must be at most %s max_sandboxes, which is %d", of.whose, of.MaxSandboxes), strconv.Itoa(p.Warm.Count),
				count, of.at+"max_sandboxes")
		}
		if of.DailyBudget != 0 && cost >= of.DailyBudget {
			r.across(at+"warm", fmt.Sprintf("must cost less than %s daily_budget_usd, which is %g, so that some is left for jobs", of.whose, of.DailyBudget),
				fmt.Sprintf("%.2f a day", cost), append(price, of.at+"daily_budget_usd")...)
		}
	}
	for _, twice := range repeated(p.Warm.Days) {
		r.across(at+"warm.days", "must not have a day twice", fmt.Sprintf("%q", twice))
	}
}

// aDay is how long of a day they wait.
func (w Warm) aDay() time.Duration {
	begins, ends, limited := strings.Cut(w.Hours, "-")
	if !limited {
		return day
	}
	from, to := sinceMidnight(begins), sinceMidnight(ends)
	if to < from {
		to += day
	}
	return to - from
}

const day = 24 * time.Hour

// sinceMidnight is a time of a day, such as 08:00.
func sinceMidnight(clock string) time.Duration {
	d, _ := time.ParseDuration(strings.Replace(clock, ":", "h", 1) + "m") // Its form is known.
	return d
}
