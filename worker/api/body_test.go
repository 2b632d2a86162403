package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"touchstone/worker/api"
	"touchstone/worker/engine"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.String()
}

func TestContentCodings(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	good := `{"job_id":"a","prompt":"x","max_tokens":1}`
	for _, c := range []struct {
		body, coding string
		status       int
	}{
		{good, "identity", 200},
		{gzipped(t, good), "gzip", 200},
		{gzipped(t, good), "GZIP", 200},
		{good, "gzip", 400},
		{gzipped(t, good)[:40], "gzip", 400},
		{gzipped(t, `{"prompt":"`+strings.Repeat("a", 64<<20)+`"}`), "gzip", 413},
		{good, "br", 415},
		{good, "gzip, gzip", 415},
	} {
		response := h.do("POST", "/execute", c.body, "Content-Encoding", c.coding)
		g.Expect(response.StatusCode).To(Equal(c.status), "%s: %.20q", c.coding, c.body)
		_, err := io.Copy(io.Discard, response.Body)
		g.Expect(err).NotTo(HaveOccurred())
		if c.status == 415 {
			g.Expect(response.Header.Get("Accept-Encoding")).To(Equal("gzip, identity"))
		}
	}
}

func TestASlowBodyIsToldSo(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(a *api.Options, _ *engine.Options) { a.WriteTimeout = 50 * time.Millisecond })
	connection, err := net.Dial("tcp", h.server.Listener.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	defer connection.Close()
	fmt.Fprint(connection, "POST /execute HTTP/1.1\r\nHost: worker\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	g.Expect(response.StatusCode).To(Equal(408))
}

func TestSchemesOfAuthorization(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(a *api.Options, _ *engine.Options) { a.APIKey = "s3cret" })
	for header, status := range map[string]int{
		"Bearer s3cret": 200, "bearer s3cret": 200, "BEARER  s3cret": 200,
		"s3cret": 401, "Basic s3cret": 401, "Bearers3cret": 401, "Bearer s3cret ": 200, "Bearer s3cret x": 401, "": 401,
	} {
		g.Expect(h.do("GET", "/v1/models", "", "Authorization", header).StatusCode).To(Equal(status), header)
	}
}
