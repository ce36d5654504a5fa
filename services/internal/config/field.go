package config

import (
	"fmt"
	"reflect"
)

const (
	fileSuffix = "_FILE"

	// Sources of a setting.
	byDefault = "default"
	fromEnv   = "env"
)

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
		Source:   byDefault,
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
		setting.Value = show(f.value)
	}
	raw, given := env[f.name]
	switch {
	case given:
		return f.loadGiven(raw, setting)
	case setting.Required:
		return setting, Broken("is required", f.name)
	default:
		return setting, nil
	}
}

func (f field) loadGiven(raw string, setting Setting) (Setting, error) {
	setting.Source = fromEnv
	candidate := reflect.New(f.value.Type()).Elem()
	err := f.check(candidate, raw)
	switch {
	case err == nil:
		f.value.Set(candidate)
		setting.Value = show(f.value)
		return setting, nil
	case mayHoldSecret(f.value.Type(), raw):
		return setting, &fieldError{names: []string{f.name}, rule: err.Error() + notShown, hidden: true}
	default:
		setting.Value = raw
		return setting, Invalid(f.name, err.Error(), raw)
	}
}

// check parses raw into candidate and applies the rules of the tags.
func (f field) check(candidate reflect.Value, raw string) error {
	if err := parse(candidate, raw); err != nil {
		return err
	}
	if f.tag.Get("schemes") != "" {
		return checkURLs(candidate, f.tag)
	}

	return checkBounds(candidate, f.tag.Get("min"), f.tag.Get("max"))
}

func (f field) secretRule() secretRule {
	switch form := f.tag.Get("form"); form {
	case "":
		return notBlank
	case "token":
		return isToken
	default:
		panic(fmt.Sprintf("config: form %q of %s is not known", form, f.name))
	}
}

func (f field) loadSecret(env map[string]string, setting Setting) (Setting, error) {
	raw, direct := env[f.name]
	path, byFile := env[f.name+fileSuffix]
	var source *SecretSource
	switch {
	case direct:
		setting.Source, setting.Value = fromEnv, redacted
		if byFile {
			return setting, Broken("must not be set together with "+f.name+fileSuffix, f.name)
		}
		if err := f.secretRule()(raw); err != nil {
			return setting, Broken(err.Error(), f.name)
		}
		source = StaticSecret(raw)
	case byFile:
		setting.Source = "file " + path
		var err error
		if source, err = fileSecret(path, f.secretRule()); err != nil {
			return setting, Unusable(f.name+fileSuffix, "must name a readable secret file", err)
		}
		setting.Value = redacted
	case setting.Required:
		return setting, Broken("is required (or "+f.name+fileSuffix+")", f.name)
	default:
		return setting, nil
	}
	switch p := f.value.Addr().Interface().(type) {
	case **SecretSource:
		*p = source
	case *Secret:
		*p = source.Get()
	}

	return setting, nil
}
