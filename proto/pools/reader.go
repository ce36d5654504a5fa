package pools

import (
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// reader fills the types of this package from a document, as their tags say, and collects what is wrong with it.
type reader struct {
	errs  Errors
	lines map[string]int // of each path that was read
	// unread are the paths of which it is not known what they should say, holed the lists with items of that kind.
	unread, holed map[string]bool
}

// fail says that a path can't be read; the line is that of the path, or of what it would be in.
func (r *reader) fail(path, rule, got string) {
	r.unread[path] = true
	r.across(path, rule, got)
}

// across says that a path breaks a rule by what it and others say. It does not if one of them can't be read: then nobody knows
// whether the rule is broken.
func (r *reader) across(path, rule, got string, others ...string) {
	if r.sound(others...) {
		r.errs = append(r.errs, &Error{Line: r.line(path), Field: path, Rule: rule, Got: got})
	}
}

// sound reports whether all paths can be read, with what they are in, and the items of those that are lists.
func (r *reader) sound(paths ...string) bool {
	for _, path := range paths {
		if r.holed[path] {
			return false
		}
		for ; path != ""; path = outer(path) {
			if r.unread[path] {
				return false
			}
		}
	}
	return true
}

// given reports whether the document has the path.
func (r *reader) given(path string) bool { return r.lines[path] > 0 }

// outer is the path of what a path is in.
func outer(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

func (r *reader) line(path string) int {
	for path != "" && r.lines[path] == 0 {
		path = outer(path)
	}
	return r.lines[path]
}

// read stores the node in a field that has the tag.
func (r *reader) read(n *yaml.Node, path string, tag reflect.StructTag, to reflect.Value) {
	r.lines[path] = n.Line
	switch {
	case to.Kind() == reflect.Struct:
		r.structure(n, path, to)
	case to.Kind() == reflect.Map:
		r.values(n, path, tag, to)
	case tag.Get("key") != "" && to.Kind() == reflect.Slice:
		r.named(n, path, tag, to)
	case to.Kind() == reflect.Slice:
		r.list(n, path, tag, to)
	case tag.Get("form") != "":
		r.text(n, path, tag, to)
	case to.Kind() == reflect.Bool:
		r.boolean(n, path, to)
	default:
		r.number(n, path, tag, to)
	}
}

// structure reads a mapping of known keys.
func (r *reader) structure(n *yaml.Node, path string, to reflect.Value) {
	fields := fieldsOf(to.Type())
	given := map[string]bool{}
	ok := r.mapping(n, path, func(name, at string, value *yaml.Node) {
		given[name] = true
		for _, f := range fields {
			if f.name == name {
				r.read(value, at, f.tag, to.FieldByIndex(f.index))
				return
			}
		}
		r.fail(at, "is not known, must be one of "+namesOf(fields), "")
	})
	for _, f := range fields {
		if ok && f.tag.Get("required") == "true" && !given[f.name] {
			r.fail(join(path, f.name), "is required", "")
		}
	}
}

// named reads a mapping whose keys are the names of what is in it, into a slice of structs with a Name, in order.
func (r *reader) named(n *yaml.Node, path string, tag reflect.StructTag, to reflect.Value) {
	ok := r.mapping(n, path, func(name, at string, value *yaml.Node) {
		element := newElement(to)
		element.FieldByName("Name").SetString(name)
		if r.isName(name, at, tag) {
			r.read(value, at, "", element)
		}
		to.Set(reflect.Append(to, element))
	})
	if ok {
		r.count(path, tag, to)
	}
}

// values reads a mapping of names to numbers or texts.
func (r *reader) values(n *yaml.Node, path string, tag reflect.StructTag, to reflect.Value) {
	if to.IsNil() {
		to.Set(reflect.MakeMap(to.Type()))
	}
	r.mapping(n, path, func(name, at string, value *yaml.Node) {
		element := reflect.New(to.Type().Elem()).Elem()
		if r.isName(name, at, tag) {
			r.read(value, at, tag, element)
			to.SetMapIndex(reflect.ValueOf(name), element)
		}
	})
}

func (r *reader) isName(name, at string, tag reflect.StructTag) bool {
	form := formOf(tag.Get("key"))
	if !form.pattern.MatchString(name) {
		r.fail(at, "its name "+form.rule, "")
		return false
	}
	return true
}

// mapping calls each for the entries of a mapping whose keys come once; it reports whether there is a mapping.
func (r *reader) mapping(n *yaml.Node, path string, each func(name, at string, value *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		r.fail(path, "must be a mapping", show(n))
		return false
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		line, again := first[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.errs = append(r.errs, &Error{Line: key.Line, Field: path, Rule: "must have texts for keys", Got: show(key)})
		case again:
			r.errs = append(r.errs, &Error{Line: key.Line, Field: at, Rule: "must come once, and is on line " + strconv.Itoa(line) + ", too"})
		default:
			first[key.Value] = key.Line
			r.lines[at] = key.Line
			each(key.Value, at, value)
		}
	}
	return true
}

// list reads a sequence of structs or of texts.
func (r *reader) list(n *yaml.Node, path string, tag reflect.StructTag, to reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		r.fail(path, "must be a list", show(n))
		return
	}
	for i, item := range n.Content {
		element := newElement(to)
		at := path + "[" + strconv.Itoa(i) + "]"
		r.read(item, at, tag, element)
		if r.unread[at] {
			r.holed[path] = true
		}
		to.Set(reflect.Append(to, element))
	}
	r.count(path, tag, to)
}

// count applies the bounds of a tag to how many there are. Of too many none is kept, so that whoever compares all with all has an end.
func (r *reader) count(path string, tag reflect.StructTag, to reflect.Value) {
	if r.bound(path, "have", float64(to.Len()), tag, strconv.Itoa(to.Len())); r.unread[path] {
		to.SetZero()
	}
}

// text reads a text that has a form.
func (r *reader) text(n *yaml.Node, path string, tag reflect.StructTag, to reflect.Value) {
	form := formOf(tag.Get("form"))
	switch {
	case n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null":
		r.fail(path, form.rule, show(n))
	case n.ShortTag() != "!!str":
		r.fail(path, form.rule+", in quotes if it is not a text otherwise", show(n))
	case !form.pattern.MatchString(n.Value):
		r.fail(path, form.rule, show(n))
	case form.set == nil:
		to.SetString(n.Value)
	default:
		if err := form.set(to, n.Value); err != nil {
			r.fail(path, err.Error(), show(n))
		} else if to.CanInt() {
			r.within(path, to, tag, show(n))
		}
	}
}

// number reads a number: a whole one if the field is.
func (r *reader) number(n *yaml.Node, path string, tag reflect.StructTag, to reflect.Value) {
	isNumber := n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!int" || n.ShortTag() == "!!float")
	if to.CanInt() {
		whole, err := strconv.Atoi(n.Value)
		if !isNumber || err != nil {
			r.fail(path, "must be a whole number", show(n))
			return
		}
		to.SetInt(int64(whole))
	} else {
		number, err := strconv.ParseFloat(n.Value, 64)
		if !isNumber || err != nil {
			r.fail(path, "must be a number", show(n))
			return
		}
		to.SetFloat(number)
	}
	r.within(path, to, tag, show(n))
}

func (r *reader) boolean(n *yaml.Node, path string, to reflect.Value) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		r.fail(path, "must be true or false", show(n))
		return
	}
	to.SetBool(strings.EqualFold(n.Value, "true"))
}
