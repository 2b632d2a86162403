package target

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"
	"go.yaml.in/yaml/v3"
)

// profileFile is the YAML form of a profile.
type profileFile struct {
	URL         string            `yaml:"url"`
	Command     string            `yaml:"command"` // split as a shell does
	NativeLib   string            `yaml:"native-lib"`
	API         string            `yaml:"api"`
	Device      string            `yaml:"device"`
	Model       string            `yaml:"model"`
	ModelName   string            `yaml:"model-name"`
	ModelSHA256 string            `yaml:"model-sha256"`
	Numerics    string            `yaml:"numerics"`
	APIKeyFile  string            `yaml:"api-key-file"`
	APIKeyEnv   string            `yaml:"api-key-env"` // name of the variable that holds the key
	Headers     map[string]string `yaml:"headers"`
	OptionsOf   string            `yaml:"options-of"` // "touchstone": the command takes the flags of `worker serve`
	Options     map[string]string `yaml:"options"`
}

// touchstoneOptions are those of `worker serve`.
var touchstoneOptions = map[string][]string{
	"keep-alive": {"--keep-alive", "{value}"}, "kv-cache-bytes": {"--kv-cache-bytes", "{value}"}, "max-jobs": {"--max-jobs", "{value}"},
	"queue": {"--queue", "{value}"}, "inference-timeout": {"--inference-timeout", "{value}"}, "threads": {"--threads", "{value}"},
	"native-lib": {"--native-lib", "{value}"}, "residency-interval": {"--residency-interval", "{value}"},
}

// OptionNames lists what a profile can say how to give to a command.
func OptionNames() []string { return slices.Sorted(maps.Keys(touchstoneOptions)) }

// read takes what a profile file says. Unknown fields are refused.
func (p *Profile) read(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var file profileFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p.URL, p.NativeLib, p.API, p.Device, p.Model = file.URL, file.NativeLib, file.API, file.Device, file.Model
	p.ModelName, p.ModelSHA256, p.Numerics = file.ModelName, file.ModelSHA256, file.Numerics
	if p.Command, err = shellquote.Split(file.Command); err != nil {
		return fmt.Errorf("%s: command: %w", path, err)
	}
	maps.Copy(p.Header, file.Headers)
	if file.APIKeyEnv != "" {
		key := os.Getenv(file.APIKeyEnv)
		if key == "" {
			return fmt.Errorf("%s: api-key-env: the environment variable %s is not set", path, file.APIKeyEnv)
		}
		p.Header["Authorization"] = "Bearer " + key
	}
	if file.APIKeyFile != "" {
		if err := p.readKey(file.APIKeyFile); err != nil {
			return err
		}
	}
	switch file.OptionsOf {
	case "":
		p.Options = map[string][]string{}
	case "touchstone":
		p.Options = maps.Clone(touchstoneOptions)
	default:
		return fmt.Errorf("%s: options-of: %q is not touchstone", path, file.OptionsOf)
	}
	for name, arguments := range file.Options {
		if _, known := touchstoneOptions[name]; !known {
			return fmt.Errorf("%s: options: %q is not one of %s", path, name, strings.Join(OptionNames(), ", "))
		}
		if p.Options[name], err = shellquote.Split(arguments); err != nil {
			return fmt.Errorf("%s: options: %s: %w", path, name, err)
		}
		if !strings.Contains(arguments, "{value}") {
			return fmt.Errorf("%s: options: %s: %q has no {value}", path, name, arguments)
		}
	}
	return nil
}
