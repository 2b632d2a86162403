package api_test

import (
	"io"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"

	"touchstone/worker/api"
	"touchstone/worker/engine"
)

// call sends a request as a browser would for a page of an origin, with a Host header of its own unless it is empty.
func (h *harness) call(method, path, origin, host string) *http.Response {
	h.Helper()
	request, err := http.NewRequest(method, h.server.URL+path, nil)
	if err != nil {
		h.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Origin", origin)
	if host != "" {
		request.Host = host
	}
	response, err := h.client.Do(request)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { response.Body.Close() })
	return response
}

func TestOtherWebPagesCannotChangeAnything(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(a *api.Options, _ *engine.Options) { a.Origins = api.Origins{Loopback: true, Host: "gpu-box"} })
	for _, path := range []string{"/shutdown", "/execute", "/cancel", "/v1/completions"} {
		for _, origin := range []string{"https://evil.example", "null", "http://localhost.evil.example", "http://evil.example:80"} {
			g.Expect(h.call("POST", path, origin, "").StatusCode).To(Equal(403), "%s from %s", path, origin)
		}
	}
	g.Expect(h.call("POST", "/shutdown", "http://evil.example:8080", "evil.example:8080").StatusCode).To(Equal(403), "a rebound name")
	g.Expect(h.call("POST", "/shutdown", "http://localhost:3000", "").StatusCode).To(Equal(403), "another page of this machine")
	g.Expect(h.call("POST", "/v1/completions", "http://localhost:3000", "").StatusCode).To(Equal(400), "allowed, and then an empty body")
	g.Expect(h.shutdown).NotTo(Receive())
	for _, own := range []string{"127.0.0.1:8080", "[::1]:8080", "localhost:8080", "10.0.0.7:8080", "gpu-box:8080"} {
		g.Expect(h.call("POST", "/shutdown", "http://"+own, own).StatusCode).To(Equal(202), own)
		g.Expect(h.shutdown).To(Receive(), own)
	}
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", ""} {
		g.Expect(h.do("POST", "/shutdown", "", "Content-Type", contentType).StatusCode).To(Equal(415), contentType)
	}
	g.Expect(h.do("POST", "/shutdown", `{"force":true}`).StatusCode).To(Equal(400))
	g.Expect(h.do("POST", "/shutdown", `{}`).StatusCode).To(Equal(202))
}

func TestPreflights(t *testing.T) {
	for origins, want := range map[string]map[string]bool{
		"loopback":             {"http://localhost:3000": true, "http://127.0.0.1": true, "https://[::1]:1": true, "https://chat.example": false},
		"none":                 {"http://localhost:3000": false, "https://chat.example": false},
		"*":                    {"http://localhost:3000": true, "https://chat.example": true},
		"https://chat.example": {"http://localhost:3000": false, "https://chat.example": true, "http://chat.example": false},
	} {
		t.Run(origins, func(t *testing.T) {
			g := NewWithT(t)
			parsed, err := api.ParseOrigins(origins)
			g.Expect(err).NotTo(HaveOccurred())
			h := newHarness(t, func(a *api.Options, _ *engine.Options) { a.Origins, a.APIKey = parsed, "key" })
			for origin, allowed := range want {
				response := h.do("OPTIONS", "/v1/chat/completions", "", "Origin", origin, "Access-Control-Request-Method", "POST",
					"Access-Control-Request-Headers", "authorization,x-stainless-os")
				g.Expect(response.Header.Get("Vary")).To(Equal("Origin"))
				if !allowed {
					g.Expect(response.Header).NotTo(HaveKey("Access-Control-Allow-Origin"), origin)
					continue
				}
				g.Expect(response.StatusCode).To(Equal(204), origin)
				g.Expect(response.Header.Get("Access-Control-Allow-Origin")).To(Equal(origin))
				g.Expect(response.Header.Get("Access-Control-Allow-Headers")).To(Equal("authorization,x-stainless-os"))
			}
		})
	}
	for _, bad := range []string{"", "chat.example", "https://chat.example/", "ftp://chat.example", "loopback,none"} {
		_, err := api.ParseOrigins(bad)
		NewWithT(t).Expect(err).To(HaveOccurred(), bad)
	}
}

func TestAllowListsWhatThePathSupports(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	for path, allow := range map[string]string{
		"/": "GET, HEAD", "/health": "GET, HEAD", "/metrics": "GET, HEAD", "/v1/models/fake": "GET, HEAD", "/jobs/a/events": "GET",
		"/execute": "POST", "/v1/completions": "POST",
	} {
		for _, method := range []string{"OPTIONS", "PUT", "DELETE"} {
			response := h.do(method, path, "")
			g.Expect(response.StatusCode).To(Equal(405), path)
			g.Expect(response.Header.Get("Allow")).To(Equal(allow), path)
			body, err := io.ReadAll(response.Body)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(body)).To(ContainSubstring("use " + allow))
		}
	}
}
