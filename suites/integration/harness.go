package integration

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/integration/misbehave"
	"touchstone/suites/process"
	"touchstone/suites/target"
)

const (
	// readyWithin is what a misbehaving worker gets to become ready; its habits show well before.
	readyWithin = 800 * time.Millisecond
	stopWithin  = 800 * time.Millisecond
	// endDelay is how long the system may take to forget a process that has ended.
	endDelay = 5 * time.Second
)

// habits are the ways of cmd misbehave, what Start must say of each, and what Stop must say of those that start.
var habits = []struct {
	habit          string
	starting       process.Ailment
	stopping       process.Ailment
	detail         string
	late, flooding bool
}{
	{habit: "behaves"},
	{habit: "dies", starting: process.Died, detail: "exit code 7"},
	{habit: "never-listens", starting: process.NeverListened, detail: "nothing listens"},
	{habit: "hangs", starting: process.NotAnswering, detail: "does not answer"},
	{habit: "unhealthy", starting: process.Unhealthy, detail: "503"},
	{habit: "late", late: true},
	{habit: "floods", flooding: true},
	{habit: "ignores-sigterm", stopping: process.IgnoredSigterm, detail: "was killed"},
	{habit: "leaves-orphan", stopping: process.LeftOrphans, detail: "still runs"},
}

// RegisterHarness adds the specs of the harness itself, which asks the subject over the named interface.
func RegisterHarness(subject func() *target.Target, over string) {
	Describe("diagnosis", requirement.Claim("harness.diagnosis"), func() {
		It("diagnoses a worker's every bad habit and leaves nothing behind", SpecTimeout(2*specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			diagnoses := map[string]string{}
			for _, h := range habits {
				diagnoses[h.habit] = diagnose(ctx, h.habit)
				want := string(h.starting + h.stopping)
				Expect(diagnoses[h.habit]).To(HavePrefix(want), h.habit)
				Expect(diagnoses[h.habit]).To(ContainSubstring(h.detail), h.habit)
				Expect(strings.Contains(diagnoses[h.habit], "listened late")).To(Equal(h.late), h.habit)
				Expect(strings.Contains(diagnoses[h.habit], string(process.FloodedLog))).To(Equal(h.flooding), h.habit)
			}
			Expect(diagnoses["dies"]).To(ContainSubstring("the cat sat on the keyboard"), "the last log lines")
			evidence.Observe("diagnoses", diagnoses, "")
		})
	})

	Describe("subject", requirement.Claim("harness.no-trace"), func() {
		It("starts, uses and ends the subject without a trace", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			worker, client := start(ctx, subject(), process.Launch{})
			answer, err := subject().API(over).Whole(ctx, client, api.Greedy(prompts[0], 4))
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.CompletionTokens).To(HaveValue(BeNumerically(">", 0)))
			client.Close()
			stopping, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			Expect(worker.Stop(stopping)).To(Succeed())
			expectNoTrace(ctx, worker)
			evidence.Observe("tokens generated before the end", *answer.CompletionTokens, "")
		})
	})

	Describe("null worker", requirement.Claim("harness.null-worker"), func() {
		It("gives a null worker no green row", SpecTimeout(2*specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			null := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
			DeferCleanup(null.Close)
			states := gateAgainst(ctx, subject().Self(), null.URL)
			evidence.Observe("states of the rows under a null worker", states, "")
			failed := 0
			for row, state := range states {
				Expect(state).NotTo(Or(Equal("PASSED"), Equal("UNPROVEN")), "row %s is green although the worker does nothing", row)
				if state == "FAILED" {
					failed++
				}
			}
			Expect(failed).To(BeNumerically(">", 5), "rows that ask the worker must be red, not merely absent")
		})
	})
}

// diagnose starts and stops a misbehaving worker and says what the harness found.
func diagnose(ctx SpecContext, habit string) string {
	GinkgoHelper()
	program, err := os.Executable()
	Expect(err).NotTo(HaveOccurred())
	worker, err := process.Start(ctx, process.Launch{
		Command: []string{program}, Env: []string{misbehave.Environment(habit)}, ReadyWithin: readyWithin, LateAfter: 200 * time.Millisecond, LogLimit: 64 << 10,
	})
	if err != nil {
		var diagnosis *process.Diagnosis
		Expect(errors.As(err, &diagnosis)).To(BeTrue(), "%v", err)
		return err.Error()
	}
	var findings []string
	if worker.Late {
		findings = append(findings, "listened late")
	}
	if err := worker.Flooded(); err != nil {
		findings = append(findings, string(process.FloodedLog))
		Expect(len(worker.Log())).To(BeNumerically("<", 80<<10), "the log that is kept")
	}
	stopping, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := worker.Stop(stopping); err != nil {
		findings = append([]string{err.Error()}, findings...)
	}
	expectNoTrace(ctx, worker)
	return strings.Join(findings, "; ")
}

// expectNoTrace expects that no process of the worker's group runs and that nothing listens on its port.
func expectNoTrace(ctx SpecContext, worker *process.Process) {
	GinkgoHelper()
	Eventually(ctx, func() error { return syscall.Kill(-worker.PID(), 0) }).WithTimeout(endDelay).Should(MatchError(syscall.ESRCH), "processes of the group %d", worker.PID())
	// Whether the port can be bound at once is another matter: closed connections may keep it for a while.
	_, err := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(worker.Port))
	Expect(err).To(MatchError(syscall.ECONNREFUSED), "nothing should listen on the port")
}

// gateAgainst runs this very gate against a worker at url, in a process of its own, and returns the state of every row.
func gateAgainst(ctx SpecContext, self []string, url string) map[string]string {
	GinkgoHelper()
	folder := GinkgoT().TempDir()
	command := exec.CommandContext(ctx, self[0], self[1:]...)
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "GATE_") {
			command.Env = append(command.Env, setting)
		}
	}
	command.Env = append(command.Env, "GATE_WORKER_URL="+url, "GATE_REPORT_DIR="+folder)
	output, err := command.CombinedOutput()
	Expect(err).To(HaveOccurred(), "a gate against a null worker must not exit 0:\n%s", output)
	text, err := os.ReadFile(filepath.Join(folder, "report.json"))
	Expect(err).NotTo(HaveOccurred(), "%s", output)
	var report struct {
		Result struct {
			Rows []struct{ ID, State string }
		}
		Rows []struct{ ID, State string }
	}
	Expect(json.Unmarshal(text, &report)).To(Succeed())
	states := map[string]string{}
	for _, row := range append(report.Result.Rows, report.Rows...) {
		states[row.ID] = row.State
	}
	Expect(states).NotTo(BeEmpty(), "report.json holds no row:\n%.2000s", text)
	return states
}
