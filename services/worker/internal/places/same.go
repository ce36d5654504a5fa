package places

import (
	"maps"
	"reflect"
	"time"
)

// Same reports whether two records say the same, whether a map of theirs is empty or not there.
func (r Record) Same(other Record) bool {
	place := func(a, b Place) bool { return a.Ask == b.Ask && a.Since.Equal(b.Since) && a.SandboxID == b.SandboxID }
	warm := func(a, b Warm) bool {
		return place(a.Place, b.Place) && a.Made == b.Made && a.Ends == b.Ends && a.EndsAt.Equal(b.EndsAt)
	}
	return r.Turn == other.Turn && r.Warmed == other.Warmed && r.Day == other.Day && r.Sorted.Equal(other.Sorted) &&
		maps.EqualFunc(r.Held, other.Held, place) && maps.EqualFunc(r.Promised, other.Promised, place) &&
		maps.EqualFunc(r.Warm, other.Warm, warm) &&
		maps.EqualFunc(r.Short, other.Short, time.Time.Equal) && maps.EqualFunc(r.Paused, other.Paused, time.Time.Equal) &&
		maps.Equal(r.Turns, other.Turns) && maps.Equal(r.Spent, other.Spent) &&
		maps.EqualFunc(r.Pools, other.Pools, func(a, b Pool) bool { return reflect.DeepEqual(a, b) })
}
