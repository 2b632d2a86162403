package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/worker/api"
	"touchstone/worker/engine"
	"touchstone/worker/internal/fake"
	"touchstone/worker/internal/problem"
)

// held makes the harness's model wait for permits, so that jobs stay where the test wants them. The permits are closed at
// the end.
func (h *harness) held() chan struct{} {
	permits := make(chan struct{})
	h.device.Permits = permits
	return permits
}

func TestStreamFraming(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	response := h.do("POST", "/execute", `{"job_id":"a","prompt":"x|\n\r\n","stop":["q"]}`)
	raw, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	blocks := strings.Split(strings.TrimSuffix(string(raw), "\n\n"), "\n\n")
	g.Expect(blocks).To(HaveLen(5))
	for i, block := range blocks {
		lines := strings.Split(block, "\n")
		g.Expect(lines).To(HaveLen(3), block)
		g.Expect(lines[0]).To(Equal(fmt.Sprintf("id: %d", i)))
		g.Expect(lines[1]).To(HavePrefix("data: {"))
		g.Expect(lines[2]).To(HavePrefix("event: "))
	}
	g.Expect(response.Header.Get("Cache-Control")).To(Equal("no-cache"))
	g.Expect(response.Header).NotTo(HaveKey("Content-Length"))
}

func TestResumeAfterLastEventID(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	whole := h.events(h.do("POST", "/execute", `{"job_id":"a/b ?","prompt":"x","max_tokens":5}`).Body)
	g.Expect(whole).To(HaveLen(7))
	const path = "/jobs/a%2Fb%20%3F/events"
	g.Expect(h.events(h.do("GET", path, "").Body)).To(Equal(whole))
	for _, last := range []int{0, 3, 5} {
		again := h.events(h.do("GET", path, "", "Last-Event-ID", fmt.Sprint(last)).Body)
		g.Expect(again).To(Equal(whole[last+1:]), "after %d", last)
	}
	g.Expect(h.do("GET", path, "", "Last-Event-ID", "6").StatusCode).To(Equal(204), "nothing follows")
	for _, bad := range []string{"7", "-1", "yesterday", "99999999999999999999", "1.5"} {
		status, body := h.json("GET", path, "", "Last-Event-ID", bad)
		g.Expect(status).To(Equal(400), bad)
		g.Expect(body).To(HaveKeyWithValue("code", "INVALID_REQUEST"))
	}
	status, _ := h.json("GET", "/jobs/other/events", "")
	g.Expect(status).To(Equal(404))
}

func TestTwoReadersOfARunningJob(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	permits := h.held()
	first := h.do("POST", "/execute", `{"job_id":"a","prompt":"x","max_tokens":3}`)
	permits <- struct{}{}
	second := h.do("GET", "/jobs/a/events", "")
	close(permits)
	g.Expect(h.events(second.Body)).To(Equal(h.events(first.Body)))
}

func TestKeepAliveComments(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(a *api.Options, _ *engine.Options) { a.KeepAlive = time.Millisecond })
	permits := h.held()
	response := h.do("POST", "/execute", `{"job_id":"a","prompt":"x","max_tokens":1}`)
	reader := bufio.NewReader(response.Body)
	for comments := 0; comments < 3; {
		line, err := reader.ReadString('\n')
		g.Expect(err).NotTo(HaveOccurred())
		if line == ": keep-alive\n" {
			comments++
		}
	}
	close(permits)
	g.Expect(textOf(h.events(reader))).To(Equal("a"))
}

func TestDisconnectEndsTheJob(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	h.held()
	ctx, disconnect := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, http.MethodPost, h.server.URL+"/execute", strings.NewReader(`{"job_id":"a","prompt":"x"}`))
	request.Header.Set("Content-Type", "application/json")
	response, err := h.client.Do(request)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	g.Eventually(h.device.OpenSessions).Should(Equal(1))
	disconnect()
	g.Eventually(h.device.OpenSessions).Should(BeZero())
	events := h.events(h.do("GET", "/jobs/a/events", "").Body)
	g.Expect(events[len(events)-1].data).To(HaveKeyWithValue("code", "CANCELLED"))
	g.Expect(h.engine.Status().Model.KVBlocksFree).To(Equal(100), "the KV blocks are free again")
}

func TestAKeptJobOutlivesItsClient(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	permits := h.held()
	ctx, disconnect := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, http.MethodPost, h.server.URL+"/execute",
		strings.NewReader(`{"job_id":"a","prompt":"x","max_tokens":3,"keep":true}`))
	request.Header.Set("Content-Type", "application/json")
	response, err := h.client.Do(request)
	g.Expect(err).NotTo(HaveOccurred())
	permits <- struct{}{}
	disconnect()
	response.Body.Close()
	close(permits)
	g.Expect(textOf(h.events(h.do("GET", "/jobs/a/events", "").Body))).To(Equal("abc"))
}

// A client that takes nothing fills its connection and is cut off; another job is none the slower.
func TestASlowClientIsCutOff(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(a *api.Options, o *engine.Options) {
		a.WriteTimeout = 50 * time.Millisecond
		a.KeepAlive = time.Microsecond // comments fill the connection while the job waits
	})
	permits := h.held()
	connection, err := net.Dial("tcp", h.server.Listener.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	defer connection.Close()
	g.Expect(connection.(*net.TCPConn).SetReadBuffer(4096)).To(Succeed())
	body := `{"job_id":"slow","prompt":"x"}`
	fmt.Fprintf(connection, "POST /execute HTTP/1.1\r\nHost: w\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	g.Eventually(h.device.OpenSessions).Should(Equal(1))
	g.Eventually(h.device.OpenSessions).WithTimeout(30*time.Second).Should(BeZero(), "the job of the slow client ends")
	close(permits)
	g.Expect(textOf(h.events(h.do("POST", "/execute", `{"job_id":"other","prompt":"x","max_tokens":3}`).Body))).To(Equal("abc"))
}

func TestCancelIsIdempotent(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	h.held()
	response := h.do("POST", "/execute", `{"job_id":"a","prompt":"x"}`)
	for range 3 {
		status, body := h.json("POST", "/cancel", `{"job_id":"a"}`)
		g.Expect(status).To(Equal(202))
		g.Expect(body).To(HaveKeyWithValue("job_id", "a"))
	}
	events := h.events(response.Body)
	last := events[len(events)-1]
	g.Expect(last.name).To(Equal("error"))
	g.Expect(last.data).To(And(HaveKeyWithValue("code", "CANCELLED"), HaveKeyWithValue("retriable", false)))
	status, _ := h.json("POST", "/cancel", `{"job_id":"a"}`)
	g.Expect(status).To(Equal(202), "after the end")
	status, _ = h.json("POST", "/cancel", `{"job_id":"never"}`)
	g.Expect(status).To(Equal(404))
	status, _ = h.json("POST", "/cancel", `{}`)
	g.Expect(status).To(Equal(400))
}

func TestRefusalsOfTheEngineAreToldAsHTTP(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(_ *api.Options, o *engine.Options) { o.MaxJobs, o.Queue = 1, 0 })
	h.held()
	h.do("POST", "/execute", `{"job_id":"a","prompt":"x","max_tokens":5}`)
	response := h.do("POST", "/execute", `{"job_id":"b","prompt":"x","max_tokens":5}`)
	g.Expect(response.StatusCode).To(Equal(503))
	g.Expect(response.Header.Get("Retry-After")).To(Equal("1"))
	status, body := h.json("POST", "/execute", `{"job_id":"a","prompt":"x","max_tokens":5}`)
	g.Expect(status).To(Equal(409))
	g.Expect(body).To(And(HaveKeyWithValue("code", "CONFLICT"), HaveKeyWithValue("retriable", false)))
}

func TestNativeFailuresBecomeDocumentedCodes(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	for status, code := range map[native.Status]problem.Code{
		native.StatusInvalidArgument: problem.InvalidRequest, native.StatusDeviceNotFound: problem.CUDAError,
		native.StatusInvalidDevice: problem.CUDAError, native.StatusOutOfMemory: problem.VRAMOOM,
		native.StatusModelLoadFailed: problem.ModelLoadFailed, native.StatusUnsupported: problem.InvalidRequest,
		native.StatusInferenceFailed: problem.Internal, native.StatusResidencyFailed: problem.CUDAError,
		native.StatusKernelLaunchFailed: problem.CUDAError, native.StatusContextLengthExceeded: problem.InvalidRequest,
		native.StatusCancelled: problem.Cancelled, native.StatusBusy: problem.Overloaded,
		native.StatusABIMismatch: problem.ModelLoadFailed, native.StatusInternal: problem.Internal, native.Status(99): problem.Internal,
	} {
		h.device.Fail = func(*native.StepItem) error { return &native.Error{Status: status, Message: "what and why"} }
		events := h.events(h.do("POST", "/execute", `{"job_id":"a","prompt":"x"}`).Body)
		g.Expect(events).To(HaveLen(2), "started, error")
		g.Expect(events[1].data).To(HaveKeyWithValue("code", string(code)), status.String())
		g.Expect(events[1].data["message"]).To(HavePrefix(status.String() + ": what and why"))
	}
	h.device.Fail = nil
	g.Expect(textOf(h.events(h.do("POST", "/execute", `{"job_id":"a","prompt":"x","max_tokens":2}`).Body))).To(Equal("ab"))
}

func TestJobsDoNotMix(t *testing.T) {
	h := newHarness(t)
	const jobs = 64
	problems := make([]string, jobs)
	var group sync.WaitGroup
	for i := range jobs {
		group.Go(func() {
			id, want := fmt.Sprintf("id-%d", i), fmt.Sprintf("text of %d é", i)
			request, _ := http.NewRequest(http.MethodPost, h.server.URL+"/execute", strings.NewReader(fmt.Sprintf(`{"job_id":%q,"prompt":"|%s"}`, id, want)))
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("X-Correlation-ID", "c-"+id)
			response, err := h.client.Do(request)
			if err != nil {
				problems[i] = err.Error()
				return
			}
			defer response.Body.Close()
			events := h.events(response.Body)
			if got := textOf(events); got != want || events[0].data["correlation_id"] != "c-"+id || response.Header.Get("X-Correlation-ID") != "c-"+id {
				problems[i] = fmt.Sprintf("got %q and %v", got, events[0].data)
			}
		})
	}
	group.Wait()
	for i, p := range problems {
		if p != "" {
			t.Errorf("job %d: %s", i, p)
		}
	}
}

func TestHealthWhileAStepHangs(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	inStep := make(chan struct{}, 10)
	h.device.Stepped = func([]native.StepItem) { inStep <- struct{}{} }
	permits := h.held()
	idle := h.engine.Status().VRAMBytesUsed()
	response := h.do("POST", "/execute", `{"job_id":"a","prompt":"x","max_tokens":2}`)
	<-inStep
	status, body := h.json("GET", "/health", "") // a call that waited for the step would never return
	g.Expect(status).To(Equal(200))
	g.Expect(body).To(And(HaveKeyWithValue("jobs_running", 1.0), HaveKeyWithValue("status", "healthy")))
	permits <- struct{}{}
	<-inStep
	_, body = h.json("GET", "/health", "")
	g.Expect(body["vram_bytes_used"]).To(BeNumerically("==", idle+fake.KVBlockBytes), "one KV block is in use")
	close(permits)
	h.events(response.Body)
	_, body = h.json("GET", "/health", "")
	g.Expect(body).To(And(HaveKeyWithValue("jobs_running", 0.0), HaveKeyWithValue("vram_bytes_used", float64(idle))))
}
