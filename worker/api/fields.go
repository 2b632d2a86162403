package api

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"touchstone/worker/internal/problem"
	"touchstone/worker/internal/strictjson"
)

const (
	maxBodyBytes = 1 << 20
	maxDepth     = 16
)

// readFields reads the body of a request as a JSON object.
func (s *Server) readFields(w http.ResponseWriter, r *http.Request) (*fields, *problem.Problem) {
	body, p := s.readBody(w, r)
	if p != nil {
		return nil, p
	}
	return parseFields(body)
}

// readBody reads the body of a request that says that it is JSON.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *problem.Problem) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		p := problem.New(problem.InvalidRequest, "the body must be sent with Content-Type: application/json")
		p.Status = http.StatusUnsupportedMediaType
		return nil, p
	}
	controller := http.NewResponseController(w)
	_ = controller.SetReadDeadline(time.Now().Add(s.options.WriteTimeout)) // a recorder has none and needs none
	var reader io.Reader = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	switch coding := strings.ToLower(r.Header.Get("Content-Encoding")); coding {
	case "", "identity":
	case "gzip", "x-gzip":
		unpacked, err := gzip.NewReader(reader)
		if err != nil {
			return nil, unreadable(err)
		}
		reader = http.MaxBytesReader(w, unpacked, maxBodyBytes)
	default:
		w.Header().Set("Accept-Encoding", "gzip, identity")
		p := problem.New(problem.InvalidRequest, "a body with Content-Encoding: %s cannot be read; send gzip or identity", shorten(coding))
		p.Status = http.StatusUnsupportedMediaType
		return nil, p
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		return nil, unreadable(err)
	}
	_ = controller.SetReadDeadline(time.Time{})
	return body, nil
}

// unreadable tells why a body could not be read.
func unreadable(err error) *problem.Problem {
	p := problem.New(problem.InvalidRequest, "the body could not be read: %v", err)
	switch tooLarge := (*http.MaxBytesError)(nil); {
	case errors.As(err, &tooLarge):
		p.Message = fmt.Sprintf("the body is larger than %d bytes", maxBodyBytes)
		p.Status = http.StatusRequestEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.Message = "the body did not arrive in time"
		p.Status = http.StatusRequestTimeout
	}
	return p
}

// parseFields reads a JSON object.
func parseFields(body []byte) (*fields, *problem.Problem) {
	value, err := strictjson.Parse(body, maxDepth)
	if err != nil {
		return nil, problem.New(problem.InvalidRequest, "%v", err)
	}
	object, isObject := value.(map[string]any)
	if !isObject {
		return nil, problem.New(problem.InvalidRequest, "the body must be a JSON object, not %s", describeValue(value))
	}
	return &fields{values: object}, nil
}

// fields takes the fields of a JSON object one by one and collects all that is wrong with them.
type fields struct {
	values       map[string]any
	nullIsAbsent bool // as OpenAI's interface has it
	taken        []string
	errors       []problem.Field
}

// take gives the raw value of a field.
func (f *fields) take(name string) (value any, present bool) {
	f.taken = append(f.taken, name)
	value, present = f.values[name]
	return value, present && (value != nil || !f.nullIsAbsent)
}

// reject records what is wrong with a field.
func (f *fields) reject(name, constraint string, value any) {
	got := describeValue(value)
	f.errors = append(f.errors, problem.Field{
		Field: name, Constraint: constraint, Got: got, Message: fmt.Sprintf("%s must be %s, not %s", name, constraint, got),
	})
}

// missing records that a required field is absent.
func (f *fields) missing(name, constraint string) {
	f.errors = append(f.errors, problem.Field{
		Field: name, Constraint: constraint, Got: nil, Message: fmt.Sprintf("%s is required: %s", name, constraint),
	})
}

// text takes a required string of 1 to most characters.
func (f *fields) text(name string, most int) string {
	constraint := fmt.Sprintf("a string of 1 to %d characters", most)
	value, present := f.take(name)
	if !present {
		f.missing(name, constraint)
		return ""
	}
	text, ok := value.(string)
	if !ok || text == "" || utf8.RuneCountInString(text) > most {
		f.reject(name, constraint, value)
	}
	return text
}

// integer takes an integer from least to most.
func (f *fields) integer(name string, least, most, fallback int) int {
	value, present := f.take(name)
	if !present {
		return fallback
	}
	n, ok := integerOf(value)
	if !ok || n < int64(least) || n > int64(most) {
		f.reject(name, fmt.Sprintf("an integer from %d to %d", least, most), value)
		return fallback
	}
	return int(n)
}

// number takes a number from least to most; with aboveLeast, least itself is refused.
func (f *fields) number(name string, least, most float64, aboveLeast bool, fallback float64) float64 {
	value, present := f.take(name)
	if !present {
		return fallback
	}
	number, ok := value.(json.Number)
	x, err := strconv.ParseFloat(string(number), 64)
	if !ok || err != nil || x < least || x > most || aboveLeast && x == least {
		constraint := fmt.Sprintf("a number from %g to %g", least, most)
		if aboveLeast {
			constraint = fmt.Sprintf("a number above %g and up to %g", least, most)
		}
		f.reject(name, constraint, value)
		return fallback
	}
	return x
}

// unsigned takes an optional integer from 0 to 2^64 - 1, exactly.
func (f *fields) unsigned(name string) *uint64 {
	value, present := f.take(name)
	if !present {
		return nil
	}
	number, _ := value.(json.Number)
	n, err := strconv.ParseUint(string(number), 10, 64)
	if err == nil {
		return &n
	}
	if whole, ok := integerOf(value); ok && whole >= 0 { // 5.0 or 5e3, as some clients write integers
		n = uint64(whole)
		return &n
	}
	f.reject(name, "an integer from 0 to 18446744073709551615", value)
	return nil
}

// boolean takes true or false.
func (f *fields) boolean(name string, fallback bool) bool {
	value, present := f.take(name)
	if !present {
		return fallback
	}
	b, ok := value.(bool)
	if !ok {
		f.reject(name, "true or false", value)
		return fallback
	}
	return b
}

// stops takes a list of stop sequences.
func (f *fields) stops(name string, limits Limits) []string {
	value, present := f.take(name)
	if !present {
		return []string{}
	}
	list, ok := value.([]any)
	if !ok || len(list) > limits.StopSequences {
		f.reject(name, fmt.Sprintf("a list of at most %d strings", limits.StopSequences), value)
		return []string{}
	}
	stops := make([]string, 0, len(list))
	for i, element := range list {
		stop, ok := element.(string)
		if ok && stop != "" && limits.fitsStop(stop) {
			stops = append(stops, stop)
			continue
		}
		f.reject(fmt.Sprintf("%s[%d]", name, i), fmt.Sprintf("a non-empty string of at most %d tokens", limits.StopTokens), element)
	}
	return stops
}

// problem gives all that was wrong, fields that nobody took included, or nil.
func (f *fields) problem() *problem.Problem {
	var unknown []string
	for name := range f.values {
		if !slices.Contains(f.taken, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		shown := shorten(name)
		f.errors = append(f.errors, problem.Field{
			Field: shown, Constraint: "a known field", Got: describeValue(f.values[name]),
			Message: fmt.Sprintf("%s is not a field of this request", shown),
		})
	}
	if len(f.errors) == 0 {
		return nil
	}
	messages := make([]string, len(f.errors))
	for i, e := range f.errors {
		messages[i] = e.Message
	}
	return &problem.Problem{Code: problem.InvalidRequest, Message: strings.Join(messages, "; "), Errors: f.errors}
}

// integerOf gives the exact value of a JSON integer such as 5, 5.0 or 5e1.
func integerOf(value any) (int64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	if n, err := strconv.ParseInt(string(number), 10, 64); err == nil {
		return n, true
	}
	x, err := strconv.ParseFloat(string(number), 64)
	if err != nil || x != math.Trunc(x) || math.Abs(x) > 1<<53 {
		return 0, false
	}
	return int64(x), true
}

const longestShown = 64

// describeValue names a JSON value in a message without repeating long ones.
func describeValue(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return shorten(string(v))
	case string:
		if n := utf8.RuneCountInString(v); n > longestShown {
			return fmt.Sprintf("a string of %d characters", n)
		}
		return strconv.Quote(v)
	case []any:
		return fmt.Sprintf("a list of %d elements", len(v))
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("%T", value)
}

func shorten(text string) string {
	if utf8.RuneCountInString(text) <= longestShown {
		return text
	}
	return string([]rune(text)[:longestShown]) + "…"
}
