package target

import (
	"context"
	"strings"
	"time"

	"touchstone/reports/verdict"
)

// describeTimeout bounds the questions asked for the report's head.
const describeTimeout = 5 * time.Second

// Subject says what was tested, for the head of the report. What could not be known is empty; it works on nil.
func (t *Target) Subject() verdict.Subject {
	if t == nil {
		return verdict.Subject{}
	}
	return t.subject
}

func (t *Target) describe(ctx context.Context) verdict.Subject {
	out := verdict.Subject{
		Worker: "touchstone", WorkerSHA256: t.shared.WorkerSHA256, Model: t.ModelName(), ModelSHA256: t.shared.ModelSHA256,
		Simulated: t.Simulated(), Dialect: t.Config.Dialect, Capabilities: t.declared(),
	}
	if !t.Config.Bundled() {
		out.Worker = t.Config.WorkerURL + t.Config.WorkerCmd
	}
	if t.Config.WorkerURL != "" {
		out.Model, out.ModelSHA256 = t.shared.OpenAI.Model, "" // the worker serves a file of its own
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	response, err := t.client.Do(ctx, Get("/health"))
	if err != nil {
		return out
	}
	var health struct {
		Version string `json:"version"`
		Model   string `json:"model"`
		Device  string `json:"device"`
	}
	if response.JSON(&health) == nil {
		out.WorkerVersion, out.Device = health.Version, health.Device
		if health.Model != "" {
			out.Model = health.Model
		}
	}
	return out
}

// declared lists what the subject offers.
func (t *Target) declared() string {
	var names []string
	for _, capability := range capabilities {
		if t.Has(capability) {
			names = append(names, string(capability))
		}
	}
	return strings.Join(names, ", ")
}
