package wire_test

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"

	"touchstone/suites/wire"
)

// tap is a listener that keeps every byte that its connections receive.
type tap struct {
	net.Listener
	mu    sync.Mutex
	heard bytes.Buffer
}

func (t *tap) Accept() (net.Conn, error) {
	connection, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tapped{connection, t}, nil
}

// tapped is one connection.
type tapped struct {
	net.Conn
	tap *tap
}

// Read is io.Reader.
func (c tapped) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	c.tap.mu.Lock()
	defer c.tap.mu.Unlock()
	c.tap.heard.Write(into[:n])
	return n, err
}

// received is what a server receives of a client, byte by byte, the server's own address aside.
func received(t *testing.T, ask func(base string)) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: a\n\n"))
	}))
	listener := &tap{Listener: server.Listener}
	server.Listener = listener
	server.Start()
	ask(server.URL)
	server.Close() // waits for the connections
	return strings.ReplaceAll(listener.heard.String(), strings.TrimPrefix(server.URL, "http://"), "worker")
}

// ordinary asks as any program in Go does that reads a page of the documentation.
func ordinary(t *testing.T, method, url, accept, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRequestsLookLikeThoseOfAnOrdinaryClient(t *testing.T) {
	g := NewWithT(t)
	type question struct {
		Prompt string `json:"prompt"`
		Stream bool   `json:"stream"`
	}
	asked, body := question{"rain", true}, `{"prompt":"rain","stream":true}`
	withClient := func(ask func(client *wire.Client)) string {
		return received(t, func(base string) {
			client := wire.NewClient(base, nil)
			defer client.Close()
			ask(client)
		})
	}
	g.Expect(withClient(func(client *wire.Client) {
		_, err := client.Do(t.Context(), wire.Get("/health"))
		g.Expect(err).NotTo(HaveOccurred())
	})).To(Equal(received(t, func(base string) { ordinary(t, http.MethodGet, base+"/health", "", "") })))

	g.Expect(withClient(func(client *wire.Client) {
		_, err := client.Do(t.Context(), wire.Post("/v1/completions", asked))
		g.Expect(err).NotTo(HaveOccurred())
	})).To(Equal(received(t, func(base string) { ordinary(t, http.MethodPost, base+"/v1/completions", "", body) })))

	g.Expect(withClient(func(client *wire.Client) {
		stream, err := client.Open(t.Context(), wire.Post("/execute", asked))
		g.Expect(err).NotTo(HaveOccurred())
		defer stream.Close()
		g.Expect(stream.Drain()).To(Succeed())
	})).To(Equal(received(t, func(base string) { ordinary(t, http.MethodPost, base+"/execute", "text/event-stream", body) })))
}
