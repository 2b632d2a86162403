package api

import (
	"encoding/json"

	"touchstone/worker/internal/grammar"
)

// responseFormat takes the form that an answer must have; nil is any text.
func (f *fields) responseFormat() *grammar.Grammar {
	const name = "response_format"
	value, present := f.take(name)
	if !present {
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		f.reject(name, "an object with a type", value)
		return nil
	}
	inner := &fields{values: object, nullIsAbsent: true}
	defer f.nest(name, inner)
	switch inner.oneOf("type", "text", "json_object", "json_schema") {
	case "json_object":
		return grammar.Object()
	case "json_schema":
		return inner.jsonSchema(f.body)
	}
	return nil
}

// jsonSchema takes the field of this name. The schema is read from the whole body again, for the order of its properties.
func (f *fields) jsonSchema(body []byte) *grammar.Grammar {
	const name = "json_schema"
	value, _ := f.take(name)
	object, ok := value.(map[string]any)
	if !ok {
		f.reject(name, "an object with name and schema", value)
		return nil
	}
	inner := &fields{values: object, nullIsAbsent: true}
	inner.ignore("name", "description", "strict")
	schema, present := inner.take("schema")
	defer f.nest(name, inner)
	if !present {
		return grammar.Object()
	}
	var ordered struct {
		ResponseFormat struct {
			JSONSchema struct {
				Schema json.RawMessage `json:"schema"`
			} `json:"json_schema"`
		} `json:"response_format"`
	}
	err := json.Unmarshal(body, &ordered)
	var compiled *grammar.Grammar
	if err == nil {
		compiled, err = grammar.JSON(ordered.ResponseFormat.JSONSchema.Schema)
	}
	if err != nil {
		inner.reject("schema", "a JSON schema that answers can be held to ("+err.Error()+")", schema)
	}
	return compiled
}
