package command

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"
)

// value is a flag that checks what it is given; the error of set says what is allowed.
type value struct {
	text string
	kind string
	set  func(text string) error
}

// String gives the value as it was given.
func (v *value) String() string { return v.text }

// Type names the kind of value in the help.
func (v *value) Type() string { return v.kind }

// Set checks and keeps a value.
func (v *value) Set(text string) error {
	if err := v.set(text); err != nil {
		return err
	}
	v.text = text
	return nil
}

// checked defines a flag whose text goes through parse. The default must be allowed.
func checked[T any](flags *pflag.FlagSet, target *T, name, kind, fallback, usage string, parse func(string) (T, error)) {
	v := &value{kind: kind, set: func(text string) error {
		parsed, err := parse(text)
		if err == nil {
			*target = parsed
		}
		return err
	}}
	if fallback != "" {
		if err := v.Set(fallback); err != nil {
			panic(fmt.Sprintf("default of --%s: %v", name, err)) // a defect that every test of the command finds
		}
	}
	flags.Var(v, name, usage)
}

func integer(least, most int64) func(string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("must be an integer from %d to %d", least, most)
		}
		return int(n), nil
	}
}

func number(least, most float64, aboveLeast bool) func(string) (float64, error) {
	return func(text string) (float64, error) {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !(x >= least && x <= most) || aboveLeast && x == least {
			if aboveLeast {
				return 0, fmt.Errorf("must be a number above %g and up to %g", least, most)
			}
			return 0, fmt.Errorf("must be a number from %g to %g", least, most)
		}
		return x, nil
	}
}

func duration(least, most time.Duration) func(string) (time.Duration, error) {
	return func(text string) (time.Duration, error) {
		d, err := time.ParseDuration(text)
		if err != nil || d < least || d > most {
			return 0, fmt.Errorf("must be a duration from %s to %s, such as 300s", least, most)
		}
		return d, nil
	}
}

func oneOf(allowed ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !slices.Contains(allowed, text) {
			return "", fmt.Errorf("must be one of %s", strings.Join(allowed, ", "))
		}
		return text, nil
	}
}

func seed(text string) (*uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, errors.New("must be an integer from 0 to 18446744073709551615")
	}
	return &n, nil
}

var cudaDevice = regexp.MustCompile(`^cuda:[0-9]{1,4}$`)

func device(text string) (string, error) {
	if !slices.Contains([]string{"auto", "cpu", "sim"}, text) && !cudaDevice.MatchString(text) {
		return "", errors.New("must be auto, cpu, sim or cuda:N with a number N")
	}
	return text, nil
}

func workerID(text string) (string, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return "", errors.New("must be a UUID")
	}
	return id.String(), nil
}

func names(text string) ([]string, error) {
	list := strings.Split(text, ",")
	for _, name := range list {
		if name == "" || strings.TrimSpace(name) != name || len(name) > 200 {
			return nil, errors.New("must be names of 1 to 200 bytes, separated by commas, without spaces at their ends")
		}
	}
	return list, nil
}

func callbackURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", errors.New("must be an absolute http or https URL")
	}
	return text, nil
}

var hostName = regexp.MustCompile(`^[0-9A-Za-z:._%-]+$`)

func host(text string) (string, error) {
	if !hostName.MatchString(text) {
		return "", errors.New("must be an IP address or a host name")
	}
	return text, nil
}

func path(text string) (string, error) {
	if text == "" {
		return "", errors.New("must be the path of a file")
	}
	return text, nil
}
