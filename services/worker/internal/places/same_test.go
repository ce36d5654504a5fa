package places_test

import (
	"reflect"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/places"
)

// A change of which Same knows nothing would never be written.
func TestSameKnowsEachFieldOfARecord(t *testing.T) {
	t.Parallel()
	base := places.Record{
		Held:     map[string]places.Place{"1.1": {}},
		Promised: map[int64]places.Place{1: {}},
		Warm:     map[string]places.Warm{"warm-1": {}},
		Pools:    map[string]places.Pool{"default": {}},
	}
	if empty := (places.Record{}); !empty.Same(places.Record{Held: map[string]places.Place{}, Short: map[places.Scope]time.Time{}}) {
		t.Error("an empty map is not as none")
	}
	changed := func(name string, r places.Record) {
		if r.Same(base) || base.Same(r) {
			t.Errorf("%s is not compared", name)
		}
	}
	for n := range reflect.TypeFor[places.Record]().NumField() {
		r, field := base, reflect.TypeFor[places.Record]().Field(n)
		reflect.ValueOf(&r).Elem().Field(n).Set(filled(field.Type))
		changed(field.Name, r)
	}
	for _, path := range leaves(reflect.TypeFor[places.Place]()) {
		var p places.Place
		leaf := reflect.ValueOf(&p).Elem().FieldByIndex(path)
		leaf.Set(filled(leaf.Type()))
		r := base
		r.Held = map[string]places.Place{"1.1": p}
		changed("a place's "+reflect.TypeFor[places.Place]().FieldByIndex(path).Name, r)
		r = base
		r.Promised = map[int64]places.Place{1: p}
		changed("a promise's "+reflect.TypeFor[places.Place]().FieldByIndex(path).Name, r)
	}
	for _, path := range leaves(reflect.TypeFor[places.Warm]()) {
		var w places.Warm
		leaf := reflect.ValueOf(&w).Elem().FieldByIndex(path)
		leaf.Set(filled(leaf.Type()))
		r := base
		r.Warm = map[string]places.Warm{"warm-1": w}
		changed("a warm sandbox's "+reflect.TypeFor[places.Warm]().FieldByIndex(path).Name, r)
	}
	r := base
	r.Pools = map[string]places.Pool{"default": {Why: "boom"}}
	changed("a pool", r)
	if !base.Same(base) {
		t.Error("a record is not the same as itself")
	}
}

// leaves are the fields of a struct, and of those that it embeds.
func leaves(of reflect.Type) (paths [][]int) {
	for _, f := range reflect.VisibleFields(of) {
		if !f.Anonymous {
			paths = append(paths, f.Index)
		}
	}
	return paths
}

// filled is a value that is not zero; of a map, with one entry of another key than any.
func filled(of reflect.Type) reflect.Value {
	v := reflect.New(of).Elem()
	switch zero := v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(zero.Add(time.Second)))
	case string, places.Scope:
		v.SetString("x")
	case float64:
		v.SetFloat(7)
	case int64, time.Duration:
		v.SetInt(7)
	case bool:
		v.SetBool(true)
	default: // a map
		v.Set(reflect.MakeMap(of))
		v.SetMapIndex(filled(of.Key()), reflect.Zero(of.Elem()))
	}
	return v
}
