package config

import (
	"fmt"
	"reflect"
)

const fileSuffix = "_FILE"

// field is one tagged field of a target.
type field struct {
	value reflect.Value
	tag   reflect.StructTag
	name  string
}

// fieldsOf walks target in order; structs without a variable of their own are groups of fields.
func fieldsOf(target any) []field {
	var (
		fields []field
		walk   func(reflect.Value)
	)
	walk = func(group reflect.Value) {
		for i := range group.NumField() {
			info := group.Type().Field(i)
			name := info.Tag.Get("env")
			switch {
			case name != "":
				fields = append(fields, field{value: group.Field(i), tag: info.Tag, name: name})
			case info.Type.Kind() == reflect.Struct && info.IsExported():
				walk(group.Field(i))
			}
		}
	}
	walk(structOf(target))

	return fields
}

func (f field) secret() bool {
	return f.value.Type() == reflect.TypeFor[Secret]() || f.value.Type() == reflect.TypeFor[*SecretSource]()
}

// names lists the variables that set the field.
func (f field) names() []string {
	if f.secret() {
		return []string{f.name, f.name + fileSuffix}
	}

	return []string{f.name}
}

func (f field) describe() Setting {
	return Setting{
		Name:     f.name,
		Source:   "default",
		Default:  f.tag.Get("default"),
		Doc:      f.tag.Get("doc"),
		Required: f.tag.Get("required") == "true",
		Secret:   f.secret(),
	}
}

// load sets the field and says what took effect. After an error the field holds its default.
func (f field) load(env map[string]string) (Setting, error) {
	setting := f.describe()
	if setting.Secret {
		return f.loadSecret(env, setting)
	}
	if setting.Default != "" {
		if err := parse(f.value, setting.Default); err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", f.name, err))
		}
	}
	raw, given := env[f.name]
	if given {
		candidate := reflect.New(f.value.Type()).Elem()
		if err := f.check(candidate, raw); err != nil {
			setting.Value = show(f.value)

			return setting, Invalid(f.name, err.Error(), printable(f.value.Type(), raw))
		}
		f.value.Set(candidate)
		setting.Source = "env"
	}
	setting.Value = show(f.value)
	if !given && setting.Required {
		return setting, fmt.Errorf("%s: is required", f.name)
	}

	return setting, nil
}

// check parses raw into candidate and applies the rules of the tags.
func (f field) check(candidate reflect.Value, raw string) error {
	if err := parse(candidate, raw); err != nil {
		return err
	}
	if err := checkSchemes(candidate, f.tag.Get("schemes")); err != nil {
		return err
	}

	return checkBounds(candidate, f.tag.Get("min"), f.tag.Get("max"))
}

func (f field) loadSecret(env map[string]string, setting Setting) (Setting, error) {
	raw, direct := env[f.name]
	path, byFile := env[f.name+fileSuffix]
	source := StaticSecret(raw)
	switch {
	case direct && byFile:
		return setting, fmt.Errorf("%s: must not be set together with %s%s", f.name, f.name, fileSuffix)
	case byFile:
		var err error
		if source, err = FileSecret(path); err != nil {
			return setting, fmt.Errorf("%s%s: must name a readable secret file: %w", f.name, fileSuffix, err)
		}
		setting.Source = "file " + path
	case direct:
		setting.Source = "env"
	case setting.Required:
		return setting, fmt.Errorf("%s: is required (or %s%s)", f.name, f.name, fileSuffix)
	default:
		return setting, nil
	}
	setting.Value = redacted
	switch p := f.value.Addr().Interface().(type) {
	case **SecretSource:
		*p = source
	case *Secret:
		*p = source.Get()
	}

	return setting, nil
}
