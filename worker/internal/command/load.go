package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"touchstone/native"
)

// kvBlockPositions is the length of a KV block (TS_KV_BLOCK_POSITIONS of the ABI).
const kvBlockPositions = 32

// Shares of memory that the KV cache takes unless --kv-cache-bytes says otherwise.
const (
	defaultKVCacheBytes = 1 << 30 // unless one full context needs more
	kvShareOfFree       = 2       // at most one part in so many of what the weights leave
)

// kvCacheBytes settles the size of the KV cache: full contexts for all jobs at once, within reason.
func kvCacheBytes(description *native.ModelDescription, jobs int, free uint64) uint64 {
	block := 2 * uint64(description.BlockCount) * uint64(description.HeadCountKV) * uint64(description.HeadDim) * kvBlockPositions * 2
	one := (uint64(description.ContextLength) + kvBlockPositions - 1) / kvBlockPositions * block
	wanted := min(one*uint64(jobs), max(one, defaultKVCacheBytes))
	return max(min(wanted, (free-min(free, tensorBytes(description)))/kvShareOfFree), block)
}

// tensorBytes is the size of a model's tensors in its file.
func tensorBytes(description *native.ModelDescription) uint64 {
	size := uint64(0)
	for _, tensor := range description.Tensors {
		size += uint64(len(tensor.Data))
	}
	return size
}

// progress hears how much of a model is loaded.
type progress interface {
	at(done, total uint64)
}

// loadModel moves a model to a device, a step at a time, until ctx ends.
func loadModel(ctx context.Context, device *opened, m *modelFile, report progress) (native.Model, error) {
	loading, err := device.context.BeginModel(m.description)
	if err != nil {
		return nil, explainLoad(err, device, m)
	}
	report.at(0, tensorBytes(&m.description))
	for done, total := uint64(0), uint64(1); done < total; {
		if ctx.Err() != nil {
			return nil, errors.Join(errors.New("interrupted while the model was loading"), loading.Close())
		}
		if done, total, err = loading.Step(0); err != nil {
			return nil, errors.Join(explainLoad(err, device, m), loading.Close())
		}
		report.at(done, total)
	}
	model, err := loading.Finish()
	if err != nil {
		return nil, errors.Join(explainLoad(err, device, m), loading.Close())
	}
	return model, nil
}

// explainLoad says in one message what did not fit where.
func explainLoad(err error, device *opened, m *modelFile) error {
	var short *native.Error
	if errors.As(err, &short) && short.Status == native.StatusOutOfMemory {
		return fmt.Errorf("insufficient memory: the model %q requires %d bytes on device %s (%s), where %d bytes are available; "+
			"take a smaller model, lower --kv-cache-bytes or free memory",
			m.about.Name, short.Required, device.name, device.properties.Name, short.Available)
	}
	return fmt.Errorf("load the model %q on device %s: %w", m.about.Name, device.name, err)
}

// newProgress shows a bar on a terminal and writes log events elsewhere.
func newProgress(stderr io.Writer, logger *slog.Logger) progress {
	if isTerminal(stderr) {
		return &bar{out: stderr}
	}
	return &loggedProgress{logger: logger, next: 0}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

type bar struct {
	out io.Writer
	bar *progressbar.ProgressBar
}

func (b *bar) at(done, total uint64) {
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(int64(total), progressbar.OptionSetWriter(b.out),
			progressbar.OptionSetDescription("loading"), progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(50*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	_ = b.bar.Set64(int64(done)) // it fails only beyond the total
}

// loggedProgress logs 0, 25, 50, 75 and 100 percent, each once.
type loggedProgress struct {
	logger *slog.Logger
	next   uint64
}

func (p *loggedProgress) at(done, total uint64) {
	for ; p.next <= 100 && done*100 >= p.next*total; p.next += 25 {
		p.logger.Info("loading the model", "event", "model_load_progress", "percent", p.next)
	}
}
