package grammar

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// object reads an object with the properties that the schema names, in its order. Where it names none, any names may come.
func (c *compiler) object(path string, take func(string) (any, bool), next *node) (*node, error) {
	named := &object{values: map[string]any{}}
	if value, ok := take("properties"); ok {
		if named, ok = value.(*object); !ok {
			return nil, fmt.Errorf("%s/properties must be an object", path)
		}
	}
	var required []string
	if value, ok := take("required"); ok {
		list, ok := value.([]any)
		for _, item := range list {
			name, isText := item.(string)
			ok = ok && isText
			required = append(required, name)
		}
		if !ok {
			return nil, fmt.Errorf("%s/required must be a list of names", path)
		}
	}
	rest, restGiven := take("additionalProperties")
	others := c.any()
	if restGiven && rest != false {
		var err error
		if others, err = c.rule(path+"/additionalProperties", rest); err != nil {
			return nil, err
		}
	}
	var properties []property
	for _, name := range named.keys {
		value, err := c.rule(path+"/properties/"+name, named.values[name])
		if err != nil {
			return nil, err
		}
		properties = append(properties, property{name, value, slices.Contains(required, name)})
	}
	for _, name := range required {
		if _, ok := named.values[name]; ok {
			continue
		}
		if rest == false {
			return nil, fmt.Errorf("%s: %q is required and not allowed", path, name)
		}
		properties = append(properties, property{name, others, true})
	}
	if len(properties) == 0 && rest != false {
		return c.freeObject(others, next), nil
	}
	return c.bytes('{', '{', c.members(properties, next)), nil
}

type property struct {
	name     string
	value    *rule
	required bool
}

// members reads properties in order, with commas between those that come, and the end of the object. It is built from the
// last to the first, for the case that a property has come before and for the case that none has.
func (c *compiler) members(properties []property, next *node) *node {
	end := c.space(c.bytes('}', '}', next))
	first, later := end, end
	for _, p := range slices.Backward(properties) {
		member := c.text(jsonString(p.name), c.colon(c.call(p.value, later)))
		begins, follows := c.space(member), c.bytes(',', ',', c.space(member))
		if p.required {
			first, later = begins, follows
			continue
		}
		first, later = c.either(begins, first), c.either(follows, later)
	}
	return first
}

// reference follows a reference within the schema.
func (c *compiler) reference(path string, value any, next *node) (*node, error) {
	pointer, _ := value.(string)
	if pointer != "#" && !strings.HasPrefix(pointer, "#/") {
		return nil, fmt.Errorf("%s/$ref must point into this schema, such as #/$defs/name", path)
	}
	at := c.root
	for _, step := range strings.Split(pointer, "/")[1:] {
		name, err := url.PathUnescape(step)
		if err != nil {
			return nil, fmt.Errorf("%s/$ref: %w", path, err)
		}
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		switch holder := at.(type) {
		case *object:
			at = holder.values[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(holder) {
				return nil, fmt.Errorf("%s/$ref points to nothing", path)
			}
			at = holder[i]
		}
	}
	if at == nil {
		return nil, fmt.Errorf("%s/$ref points to nothing", path)
	}
	target, err := c.rule(pointer, at)
	if err != nil {
		return nil, err
	}
	return c.call(target, next), nil
}

// alternatives reads a value of one of several schemas. For oneOf their types must differ, so that no value is of two.
func (c *compiler) alternatives(path, key string, value any, next *node) (*node, error) {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("%s/%s must be a list of schemas", path, key)
	}
	if key == "allOf" && len(list) > 1 {
		return nil, fmt.Errorf("%s/allOf: more than one schema is not supported", path)
	}
	seen := map[string]bool{}
	var starts []*node
	for i, schema := range list {
		if key == "oneOf" && len(list) > 1 {
			o, _ := schema.(*object)
			name := ""
			if o != nil {
				name, _ = o.values["type"].(string)
			}
			if name == "integer" {
				name = "number"
			}
			if name == "" || seen[name] {
				return nil, fmt.Errorf("%s/oneOf: schemas of one type, or without, are not supported; use anyOf", path)
			}
			seen[name] = true
		}
		r, err := c.rule(fmt.Sprintf("%s/%s/%d", path, key, i), schema)
		if err != nil {
			return nil, err
		}
		starts = append(starts, c.call(r, next))
	}
	return c.either(starts...), nil
}
