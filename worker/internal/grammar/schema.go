package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Limits of a schema.
const (
	maxSchemaDepth = 100
	maxNodes       = 500_000 // of the whole network
	maxRepeat      = 4096    // of minItems, maxLength and their like
)

// annotations are keywords that no answer depends on.
var annotations = []string{
	"$schema", "$id", "$defs", "definitions", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
	"format", "contentEncoding", "contentMediaType", "strict",
}

// object is a JSON object with its entries in order.
type object struct {
	keys   []string
	values map[string]any
}

// JSON compiles a JSON schema (draft 2020-12). Every answer that the grammar lets pass validates; the schema may allow more,
// such as properties that it does not name. What cannot be held to is refused by name.
func JSON(schema []byte) (*Grammar, error) {
	decoder := json.NewDecoder(bytes.NewReader(schema))
	decoder.UseNumber()
	root, err := readValue(decoder, 0)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more follows the schema")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the schema is not JSON: %w", err)
	}
	c := &compiler{root: root, rules: map[string]*rule{}}
	top, err := c.rule("#", root)
	if err != nil {
		return nil, err
	}
	return &Grammar{top}, nil
}

// Object gives the grammar of any JSON object.
func Object() *Grammar {
	c := &compiler{rules: map[string]*rule{}}
	r := &rule{}
	r.start = c.freeObject(c.any(), c.end())
	return &Grammar{r}
}

// readValue reads a JSON value whose objects keep their order.
func readValue(decoder *json.Decoder, depth int) (any, error) {
	if depth > maxSchemaDepth {
		return nil, fmt.Errorf("it is nested more than %d levels deep", maxSchemaDepth)
	}
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	delimiter, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if delimiter == '[' {
		items := []any{}
		for decoder.More() {
			item, err := readValue(decoder, depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		_, err := decoder.Token()
		return items, err
	}
	o := &object{values: map[string]any{}}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		value, err := readValue(decoder, depth+1)
		if err != nil {
			return nil, err
		}
		name := key.(string) // the decoder gives nothing else here
		if _, twice := o.values[name]; !twice {
			o.keys = append(o.keys, name)
		}
		o.values[name] = value
	}
	_, err = decoder.Token()
	return o, err
}

// compiler turns schemas into rules. Paths name schemas in errors, and make one rule of all references to one.
type compiler struct {
	builder
	root  any
	rules map[string]*rule
	free  *rule // any JSON value
}

// rule gives the rule of the schema at a path.
func (c *compiler) rule(path string, schema any) (*rule, error) {
	if r, ok := c.rules[path]; ok {
		return r, nil
	}
	r := &rule{}
	c.rules[path] = r
	var err error
	r.start, err = c.schema(path, schema, c.end())
	if err == nil && c.count > maxNodes {
		err = fmt.Errorf("the schema is too large: %s makes more than %d nodes", path, maxNodes)
	}
	return r, err
}

// schema gives the nodes that read a value of a schema.
func (c *compiler) schema(path string, schema any, next *node) (*node, error) {
	if schema == true {
		return c.call(c.any(), next), nil
	}
	o, ok := schema.(*object)
	if !ok {
		return nil, fmt.Errorf("%s must be a schema that something can satisfy", path)
	}
	used := map[string]bool{}
	for _, key := range o.keys {
		used[key] = !slices.Contains(annotations, key)
	}
	take := func(key string) (any, bool) {
		value, ok := o.values[key]
		used[key] = false
		return value, ok
	}
	start, err := c.keywords(path, take, next)
	if err != nil {
		return nil, err
	}
	for _, key := range o.keys {
		if used[key] {
			return nil, fmt.Errorf("%s/%s: this keyword is not supported here", path, key)
		}
	}
	return start, nil
}

// keywords reads the keywords of one schema by take, which notes that a keyword was held to.
func (c *compiler) keywords(path string, take func(string) (any, bool), next *node) (*node, error) {
	if reference, ok := take("$ref"); ok {
		return c.reference(path, reference, next)
	}
	for _, key := range []string{"anyOf", "oneOf", "allOf"} {
		if list, ok := take(key); ok {
			return c.alternatives(path, key, list, next)
		}
	}
	types, err := typesOf(path, take)
	if err != nil {
		return nil, err
	}
	if value, ok := take("const"); ok {
		return c.values(path, []any{value}, types, next)
	}
	if list, ok := take("enum"); ok {
		values, ok := list.([]any)
		if !ok {
			return nil, fmt.Errorf("%s/enum must be a list", path)
		}
		return c.values(path, values, types, next)
	}
	if types == nil {
		if types, err = impliedTypes(take); err != nil {
			return nil, err
		}
		if types == nil {
			return c.call(c.any(), next), nil
		}
	}
	var starts []*node
	for _, name := range types {
		start, err := c.ofType(path, name, take, next)
		if err != nil {
			return nil, err
		}
		starts = append(starts, start)
	}
	return c.either(starts...), nil
}

// impliedTypes guesses the type of a schema without one from the keywords that only one type has.
func impliedTypes(take func(string) (any, bool)) ([]string, error) {
	for _, key := range []string{"properties", "required", "additionalProperties"} {
		if _, ok := take(key); ok {
			return []string{"object"}, nil
		}
	}
	if _, ok := take("items"); ok {
		return []string{"array"}, nil
	}
	return nil, nil
}

func typesOf(path string, take func(string) (any, bool)) ([]string, error) {
	value, ok := take("type")
	if !ok {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var types []string
	for _, item := range list {
		name, _ := item.(string)
		if !slices.Contains([]string{"object", "array", "string", "number", "integer", "boolean", "null"}, name) {
			return nil, fmt.Errorf("%s/type must name types of JSON", path)
		}
		types = append(types, name)
	}
	if len(types) == 0 {
		return nil, fmt.Errorf("%s/type must name types of JSON", path)
	}
	return types, nil
}

func (c *compiler) ofType(path, name string, take func(string) (any, bool), next *node) (*node, error) {
	switch name {
	case "object":
		return c.object(path, take, next)
	case "array":
		return c.array(path, take, next)
	case "string":
		least, most, err := bounds(path, "minLength", "maxLength", take)
		return c.str(least, most, next), err
	case "boolean":
		return c.either(c.text("true", next), c.text("false", next)), nil
	case "null":
		return c.text("null", next), nil
	}
	return c.number(name == "integer", next), nil
}

// bounds reads a least and a most count; most is -1 if there is none.
func bounds(path, leastKey, mostKey string, take func(string) (any, bool)) (least, most int, err error) {
	most = -1
	for _, b := range []struct {
		key string
		to  *int
	}{{leastKey, &least}, {mostKey, &most}} {
		value, ok := take(b.key)
		if !ok {
			continue
		}
		number, _ := value.(json.Number)
		if *b.to, err = strconv.Atoi(string(number)); err != nil || *b.to < 0 || *b.to > maxRepeat {
			return 0, 0, fmt.Errorf("%s/%s must be an integer from 0 to %d", path, b.key, maxRepeat)
		}
	}
	if most >= 0 && most < least {
		return 0, 0, fmt.Errorf("%s: %s is above %s", path, leastKey, mostKey)
	}
	return least, most, nil
}

func (c *compiler) array(path string, take func(string) (any, bool), next *node) (*node, error) {
	least, most, err := bounds(path, "minItems", "maxItems", take)
	if err != nil {
		return nil, err
	}
	item := c.any()
	if schema, ok := take("items"); ok {
		if item, err = c.rule(path+"/items", schema); err != nil {
			return nil, err
		}
	}
	end := c.space(c.bytes(']', ']', next))
	if most == 0 {
		return c.bytes('[', '[', end), nil
	}
	more := func(next *node) *node { return c.bytes(',', ',', c.space(c.call(item, next))) }
	items := c.space(c.call(item, c.repeat(more, max(least-1, 0), max(most-1, -1), end)))
	if least == 0 {
		items = c.either(items, end)
	}
	return c.bytes('[', '[', items), nil
}

// any is the rule of any JSON value.
func (c *compiler) any() *rule {
	if c.free == nil {
		c.free = &rule{}
		end := c.end()
		more := func(next *node) *node { return c.bytes(',', ',', c.space(c.call(c.free, next))) }
		close := c.space(c.bytes(']', ']', end))
		array := c.bytes('[', '[', c.either(close, c.space(c.call(c.free, c.loop(more, close)))))
		c.free.start = c.either(c.freeObject(c.free, end), array, c.str(0, -1, end), c.number(false, end),
			c.text("true", end), c.text("false", end), c.text("null", end))
	}
	return c.free
}

// freeObject reads an object of any names.
func (c *compiler) freeObject(value *rule, next *node) *node {
	member := func(next *node) *node { return c.str(0, -1, c.colon(c.call(value, next))) }
	more := func(next *node) *node { return c.bytes(',', ',', c.space(member(next))) }
	end := c.space(c.bytes('}', '}', next))
	return c.bytes('{', '{', c.either(end, c.space(member(c.loop(more, end)))))
}

func (c *compiler) colon(next *node) *node {
	return c.bytes(':', ':', c.either(next, c.bytes(' ', ' ', next)))
}

// values reads one of several values, those of the types alone if there are any.
func (c *compiler) values(path string, values []any, types []string, next *node) (*node, error) {
	var starts []*node
	for _, value := range values {
		if types == nil || slices.ContainsFunc(types, func(name string) bool { return isOfType(value, name) }) {
			starts = append(starts, c.text(jsonText(value), next))
		}
	}
	if len(starts) == 0 {
		return nil, fmt.Errorf("%s: no value can satisfy this", path)
	}
	return c.either(starts...), nil
}

func isOfType(value any, name string) bool {
	switch value := value.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case json.Number:
		return name == "number" || name == "integer" && !strings.ContainsAny(value.String(), ".eE")
	case []any:
		return name == "array"
	}
	return name == "object"
}

// jsonText writes a value without white space.
func jsonText(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(value)
	case string:
		return jsonString(value)
	case []any:
		items := make([]string, len(value))
		for i, item := range value {
			items[i] = jsonText(item)
		}
		return "[" + strings.Join(items, ",") + "]"
	case *object:
		entries := make([]string, len(value.keys))
		for i, key := range value.keys {
			entries[i] = jsonString(key) + ":" + jsonText(value.values[key])
		}
		return "{" + strings.Join(entries, ",") + "}"
	}
	return fmt.Sprint(value)
}
