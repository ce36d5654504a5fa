package pools

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write pools.schema.json instead of comparing it")

// The schema that editors use says of each field what the types say that the reader follows, and knows no other field.
func TestTheSchemaIsWhatTheTypesSay(t *testing.T) {
	t.Parallel()
	schema := schemaOf(reflect.TypeFor[File](), "")
	schema["$schema"], schema["title"] = "https://json-schema.org/draft/2020-12/schema", "Pools of Modal GitHub Runner"
	want, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if bytes.Contains(want, []byte(`"description": ""`)) {
		t.Error("a field says nothing about itself")
	}
	if *update {
		if err := os.WriteFile("pools.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("pools.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run this test with -update: %s", diff)
	}
}

// schemaOf is the JSON Schema of what reader.read takes for a field of that type and tag.
func schemaOf(of reflect.Type, tag reflect.StructTag) map[string]any {
	key := tag.Get("key")
	switch {
	case of.Kind() == reflect.Struct:
		properties, required := map[string]any{}, []string{}
		for _, f := range fieldsOf(of) {
			property := schemaOf(of.FieldByIndex(f.index).Type, f.tag)
			property["description"] = f.tag.Get("doc")
			properties[f.name] = property
			if f.tag.Get("required") == "true" {
				required = append(required, f.name)
			}
		}
		schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
		if len(required) > 0 {
			schema["required"] = required
		}
		return schema
	case of.Kind() == reflect.Map:
		return map[string]any{"type": "object", "patternProperties": map[string]any{formOf(key).pattern.String(): schemaOf(of.Elem(), tag)}, "additionalProperties": false}
	case key != "" && of.Kind() == reflect.Slice:
		schema := map[string]any{"type": "object", "patternProperties": map[string]any{formOf(key).pattern.String(): schemaOf(of.Elem(), "")}, "additionalProperties": false}
		return bounded(schema, "minProperties", "maxProperties", tag)
	case of.Kind() == reflect.Slice:
		return bounded(map[string]any{"type": "array", "items": schemaOf(of.Elem(), tag)}, "minItems", "maxItems", tag)
	case tag.Get("form") != "":
		return map[string]any{"type": "string", "pattern": formOf(tag.Get("form")).pattern.String()}
	case of.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case of.Kind() == reflect.Int:
		return number("integer", tag)
	default:
		return number("number", tag)
	}
}

func number(kind string, tag reflect.StructTag) map[string]any {
	return bounded(map[string]any{"type": kind}, "minimum", "maximum", tag)
}

func bounded(schema map[string]any, low, high string, tag reflect.StructTag) map[string]any {
	for key, text := range map[string]string{low: tag.Get("min"), high: tag.Get("max")} {
		if bound, err := strconv.ParseFloat(text, 64); err == nil {
			schema[key] = bound
		}
	}
	return schema
}
