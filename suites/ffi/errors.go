package ffi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// provoked is what a healthy library is made to refuse: each with its status, and a text that names the culprit.
var provoked = []struct {
	name   string
	status native.Status
	parts  []string
	call   func(subject *target.Target) error
}{
	{"a device that is not there", native.StatusInvalidDevice, []string{"99"}, func(s *target.Target) error {
		library, err := s.Library()
		if err != nil {
			return err
		}
		context, err := library.NewContext(99, native.ContextOptions{})
		return closing(context, err)
	}},
	{"a negative device", native.StatusInvalidDevice, []string{"-1"}, func(s *target.Target) error {
		library, err := s.Library()
		if err != nil {
			return err
		}
		context, err := library.NewContext(-1, native.ContextOptions{})
		return closing(context, err)
	}},
	{"an unknown operation", native.StatusUnsupported, []string{"no_such_operation"}, func(s *target.Target) error {
		return tiny.OpenContext(s, tiny.Options{}).RunOp(native.Op{Name: "no_such_operation"})
	}},
	{"an operation without its operands", native.StatusInvalidArgument, []string{"inputs"}, func(s *target.Target) error {
		return tiny.OpenContext(s, tiny.Options{}).RunOp(native.Op{Name: "softmax"})
	}},
	{"too little memory", native.StatusOutOfMemory, []string{"memory"}, func(s *target.Target) error {
		context := tiny.OpenContext(s, tiny.Options{Context: native.ContextOptions{MemoryLimit: 64 << 10}})
		_, err := tiny.TryLoad(context, tiny.Description(tiny.Options{}))
		return err
	}},
	{"a missing tensor", native.StatusModelLoadFailed, []string{"blk.1.ffn_down.weight"}, func(s *target.Target) error {
		description := tiny.Description(tiny.Options{})
		description.Tensors = description.Tensors[:len(description.Tensors)-1]
		_, err := tiny.TryLoad(tiny.OpenContext(s, tiny.Options{}), description)
		return err
	}},
	{"a misshapen tensor", native.StatusModelLoadFailed, []string{"token_embd.weight"}, func(s *target.Target) error {
		description := tiny.Description(tiny.Options{})
		table := &description.Tensors[0]
		table.Shape = []uint64{table.Shape[0], table.Shape[1] - 1}
		table.Data = table.Data[:len(table.Data)-4*tiny.Width]
		_, err := tiny.TryLoad(tiny.OpenContext(s, tiny.Options{}), description)
		return err
	}},
	{"weights that are no numbers", native.StatusInferenceFailed, []string{"NaN"}, func(s *target.Target) error {
		description := tiny.Description(tiny.Options{})
		data := description.Tensors[0].Data
		for i := 0; i < len(data); i += 4 {
			binary.LittleEndian.PutUint32(data[i:], math.Float32bits(float32(math.NaN())))
		}
		model := tiny.LoadInto(tiny.OpenContext(s, tiny.Options{}), description)
		return stepError(model, tiny.Session(model), []int32{1})
	}},
	{"a step without tokens", native.StatusInvalidArgument, []string{"token"}, func(s *target.Target) error {
		model := tiny.Load(s, tiny.Options{})
		return stepError(model, tiny.Session(model), nil)
	}},
	{"a token beyond the vocabulary", native.StatusInvalidArgument, []string{fmt.Sprint(tiny.Vocab)}, func(s *target.Target) error {
		model := tiny.Load(s, tiny.Options{})
		return stepError(model, tiny.Session(model), []int32{tiny.Vocab})
	}},
	{"more tokens than a step may have", native.StatusInvalidArgument, []string{"8"}, func(s *target.Target) error {
		model := tiny.Load(s, tiny.Options{MaxRows: 8})
		return stepError(model, tiny.Session(model), tiny.Tokens(9, 1))
	}},
	{"a temperature out of range", native.StatusInvalidArgument, []string{"temperature"}, func(s *target.Target) error {
		model := tiny.Load(s, tiny.Options{})
		items := []native.StepItem{{Session: tiny.Session(model), Tokens: []int32{1}, Sampling: &native.Sampling{Temperature: 3, TopP: 1, RepetitionPenalty: 1}}}
		return errors.Join(model.Step(items), items[0].Err)
	}},
	{"a truncation beyond the end", native.StatusInvalidArgument, []string{"5"}, func(s *target.Target) error {
		return tiny.Session(tiny.Load(s, tiny.Options{})).Truncate(5)
	}},
	{"a session that is full", native.StatusContextLengthExceeded, []string{"4"}, func(s *target.Target) error {
		model := tiny.Load(s, tiny.Options{})
		session, err := model.NewSession(native.SessionOptions{MaxLength: 4})
		if err != nil {
			return err
		}
		DeferCleanup(session.Close)
		return stepError(model, session, tiny.Tokens(5, 1))
	}},
	{"a cancelled session", native.StatusCancelled, []string{"cancel"}, func(s *target.Target) error {
		model := tiny.Load(s, tiny.Options{})
		session := tiny.Session(model)
		return errors.Join(session.Cancel(), stepError(model, session, []int32{1}))
	}},
	{"a second model", native.StatusBusy, []string{"model"}, func(s *target.Target) error {
		model := tiny.Load(s, tiny.Options{})
		_, err := tiny.TryLoad(model.Device, tiny.Description(tiny.Options{}))
		return err
	}},
}

// Error codes.
func registerErrors(subject func() *target.Target) {
	Describe("error codes", requirement.Claim("abi.errors"), func() {
		It("come out of the library with a text that names the culprit", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			texts := map[string]string{}
			for _, p := range provoked {
				err := p.call(subject())
				Expect(err).To(matchers.HaveStatus(p.status, p.parts...), p.name)
				texts[p.name] = err.Error()
			}
			evidence.Observe("provoked", texts, "")
		})

		It("name the present failure, not the one before", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			session := tiny.Session(tiny.Load(subject(), tiny.Options{}))
			lengths := []int{1001, 1002, 1003}
			for _, length := range lengths {
				Expect(session.Truncate(length)).To(matchers.HaveStatus(native.StatusInvalidArgument, fmt.Sprint(length)))
			}
			evidence.Observe("failures in a row, each with its own text", len(lengths), "")
		})

		It("all reach Go as what they are", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native)
			library, err := native.OpenLibrary(build(ctx, "failing.c", "-shared", "-fPIC"))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(library.Close)
			names := []string{}
			for status := native.StatusInvalidArgument; status <= native.StatusInternal; status++ {
				_, err := library.NewContext(int(status), native.ContextOptions{})
				var failure *native.Error
				Expect(errors.As(err, &failure)).To(BeTrue(), "status %d came as %v", status, err)
				Expect(failure.Status).To(Equal(status))
				Expect(failure.Message).To(Equal(fmt.Sprintf("told to fail with %d", status)))
				if status == native.StatusOutOfMemory {
					Expect([]uint64{failure.Required, failure.Available}).To(Equal([]uint64{1000, 10}))
				}
				names = append(names, failure.Status.String())
			}
			evidence.Observe("statuses", names, "")
		})

		It("tell a library without the interface from one that cannot be loaded", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native)
			_, err := native.OpenLibrary("/no/such/library.so")
			Expect(err).To(matchers.HaveStatus(native.StatusInvalidArgument, "/no/such/library.so"))
			empty := build(ctx, "empty.c", "-shared", "-fPIC")
			_, err = native.OpenLibrary(empty)
			Expect(err).To(matchers.HaveStatus(native.StatusABIMismatch, "ts_get_api"))
			evidence.Observe("libraries refused", 2, "")
		})
	})
}

func stepError(model native.Model, session native.Session, tokens []int32) error {
	items := []native.StepItem{{Session: session, Tokens: tokens, Want: native.LogitsLast}}
	err := model.Step(items)
	return errors.Join(err, items[0].Err)
}

// closing closes a context that should not have been opened.
func closing(context native.Context, err error) error {
	if err == nil {
		return context.Close()
	}
	return err
}
