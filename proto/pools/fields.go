package pools

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// field is one field of a struct of the format.
type field struct {
	name  string
	tag   reflect.StructTag
	index []int
}

// fieldsOf lists the fields of a struct, with those of the structs that stand in the same mapping.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		info := t.Field(i)
		switch name := info.Tag.Get("yaml"); {
		case name == "-":
		case info.Anonymous:
			for _, f := range fieldsOf(info.Type) {
				fields = append(fields, field{f.name, f.tag, append([]int{i}, f.index...)})
			}
		default:
			fields = append(fields, field{name, info.Tag, []int{i}})
		}
	}
	return fields
}

func namesOf(fields []field) string {
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

// newElement returns what is to be read into and appended to the slice: all that is absent has its default, unless that depends
// on other fields.
func newElement(slice reflect.Value) reflect.Value {
	pointer := reflect.New(slice.Type().Elem())
	switch element := pointer.Interface().(type) {
	case *Pool:
		*element = builtIn()
		element.Labels, element.CPULimit, element.MemoryLimitMiB = nil, 0, 0
	case *Repository:
		element.Weight = 1
	}
	return pointer.Elem()
}

// within applies the bounds of a tag to a value, as the file would write it.
func (r *reader) within(path string, v reflect.Value, tag reflect.StructTag, got string) {
	if v.CanInt() {
		r.bound(path, "be", float64(v.Int()), tag, got)
	} else {
		r.bound(path, "be", v.Float(), tag, got)
	}
}

// bound applies the bounds of a tag.
func (r *reader) bound(path, verb string, number float64, tag reflect.StructTag, got string) {
	low, high := tag.Get("min"), tag.Get("max")
	tooLow, tooHigh := low != "" && number < boundOf(low, tag), high != "" && number > boundOf(high, tag)
	switch {
	case !tooLow && !tooHigh:
	case high == "":
		r.fail(path, fmt.Sprintf("must %s at least %s", verb, low), got)
	default:
		r.fail(path, fmt.Sprintf("must %s between %s and %s", verb, low, high), got)
	}
}

// boundOf reads a bound in the form of the field; one that is not a text is a plain number.
func boundOf(text string, tag reflect.StructTag) float64 {
	number, err := strconv.ParseFloat(text, 64)
	if err == nil {
		return number
	}
	var v int64
	if err := formOf(tag.Get("form")).set(reflect.ValueOf(&v).Elem(), text); err != nil {
		panic(fmt.Sprintf("pools: bound %q: %v", text, err)) // A tag of this package is wrong.
	}
	return float64(v)
}

// maxShown is how much of a value an error shows, in bytes.
const maxShown = 60

// show writes a value for an error.
func show(n *yaml.Node) string {
	switch n.Kind { //nolint:exhaustive // there are no others below a document but scalars
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if n.ShortTag() == "!!null" {
		return "nothing"
	}
	return strconv.Quote(shortened(n.Value))
}

func shortened(text string) string {
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "..."
	}
	return text
}

// join writes the path of a key in a mapping; a key that would break the line is quoted.
func join(path, key string) string {
	strange := func(c rune) bool { return !unicode.IsPrint(c) || strings.ContainsRune(" .[", c) }
	if key == "" || len(key) > maxShown || strings.ContainsFunc(key, strange) {
		key = strconv.Quote(shortened(key))
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
