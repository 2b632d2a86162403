// Package abi describes the binary layout of the C ABI, so that a change of include/touchstone.h that breaks callers shows
// as a difference from include/abi.json.
package abi

// #include "../include/touchstone.h"
import "C"

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"

	"touchstone/native/include"
)

// Layout is what callers and libraries must agree on.
type Layout struct {
	Major     uint32            `json:"major"`
	Minor     uint32            `json:"minor"`
	Structs   []Struct          `json:"structs"`
	Constants map[string]uint64 `json:"constants"`
}

// Struct is a struct with its fields in order; of ts_api these are the functions.
type Struct struct {
	Name   string  `json:"name"`
	Size   uint64  `json:"size"`
	Fields []Field `json:"fields"`
}

// Field is a field's place in bytes.
type Field struct {
	Name   string `json:"name"`
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
}

// structs are all structs of the header whose fields are visible.
var structs = []any{C.ts_error{}, C.ts_device_properties{}, C.ts_context_options{}, C.ts_memory_stats{}, C.ts_memory_block{},
	C.ts_residency_report{}, C.ts_tensor{}, C.ts_model_desc{}, C.ts_model_info{}, C.ts_session_options{}, C.ts_session_state{},
	C.ts_sampling{}, C.ts_step_item{}, C.ts_parameter{}, C.ts_api{}}

var (
	constant   = regexp.MustCompile(`(?m)^(?:#define|  )\s*(TS_[A-Z0-9_a-z]+) (?:= )?(\d+)u?`)
	structHead = regexp.MustCompile(`(?m)^typedef struct (ts_\w+) \{`)
)

// Current computes the layout of the header that this package was compiled with (64-bit platforms).
func Current() (Layout, error) {
	text, err := include.Headers.ReadFile("touchstone.h")
	if err != nil {
		return Layout{}, err
	}
	layout := Layout{Major: C.TS_ABI_MAJOR, Minor: C.TS_ABI_MINOR, Constants: map[string]uint64{}}
	names := structHead.FindAllStringSubmatch(string(text), -1)
	if len(names) != len(structs) {
		return Layout{}, fmt.Errorf("the header has %d structs, package abi lists %d", len(names), len(structs))
	}
	for i, value := range structs {
		layout.Structs = append(layout.Structs, describe(names[i][1], reflect.TypeOf(value)))
	}
	for _, match := range constant.FindAllStringSubmatch(string(text), -1) {
		value, err := strconv.ParseUint(match[2], 10, 32)
		if err != nil {
			return Layout{}, err
		}
		layout.Constants[match[1]] = value
	}
	return layout, nil
}

func describe(name string, t reflect.Type) Struct {
	s := Struct{Name: name, Size: uint64(t.Size())}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name != "_" { // padding
			s.Fields = append(s.Fields, Field{Name: f.Name, Offset: uint64(f.Offset), Size: uint64(f.Type.Size())})
		}
	}
	return s
}
