// Package wire is how the harness talks HTTP: as any stranger would, with nothing in a request that names the harness or a test.
package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"touchstone/reports/evidence"
)

// maxBody bounds a response that is not a stream.
const maxBody = 16 << 20

// Client talks to a worker as any stranger would. It is safe for concurrent use.
type Client struct {
	base   string
	header map[string]string
	http   *http.Client
}

// NewClient makes a client for the worker at base, such as "http://127.0.0.1:8080", that sends header, such as a key, with
// every call; it may be nil. It keeps no timeout of its own: the context of each call bounds it.
func NewClient(base string, header map[string]string) *Client {
	return &Client{base: base, header: header, http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 128}, // takes compressed answers, as any does
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Base is the worker's URL.
func (c *Client) Base() string { return c.base }

// Close releases idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call is one request to make. Body may be nil, a string or []byte that is sent as it is, or anything else, which is sent
// as JSON. A header given as "" is not sent at all, also not by default.
type Call struct {
	Method string
	Path   string
	Body   any
	Header map[string]string
}

// Get is a GET of a path.
func Get(path string) Call { return Call{Method: http.MethodGet, Path: path} }

// Post is a POST of a body to a path.
func Post(path string, body any) Call { return Call{Method: http.MethodPost, Path: path, Body: body} }

// With adds a header.
func (c Call) With(name, value string) Call {
	header := map[string]string{name: value}
	for k, v := range c.Header {
		header[k] = v
	}
	c.Header = header
	return c
}

// Response is a complete answer.
type Response struct {
	Status  int
	Header  http.Header
	Body    []byte
	Elapsed time.Duration

	exchange evidence.Exchange
}

// JSON decodes the body; its error shows the body.
func (r *Response) JSON(into any) error {
	if err := json.Unmarshal(r.Body, into); err != nil {
		return fmt.Errorf("the body of the answer %d is not the JSON wanted: %w\n%s", r.Status, err, Abridge(string(r.Body)))
	}
	return nil
}

// Exchange is the exchange as evidence.
func (r *Response) Exchange() evidence.Exchange { return r.exchange }

// Do makes a call and reads the whole answer.
func (c *Client) Do(ctx context.Context, call Call) (*Response, error) {
	start := time.Now()
	response, exchange, err := c.send(ctx, call)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("%s %s: the answer %d breaks off: %w", call.Method, call.Path, response.StatusCode, err)
	}
	elapsed := time.Since(start)
	exchange.ResponseBody, exchange.ElapsedMS = string(body), Milliseconds(elapsed)
	return &Response{Status: response.StatusCode, Header: response.Header, Body: body, Elapsed: elapsed, exchange: exchange}, nil
}

func (c *Client) send(ctx context.Context, call Call) (*http.Response, evidence.Exchange, error) {
	body, err := encode(call.Body)
	if err != nil {
		return nil, evidence.Exchange{}, err
	}
	request, err := http.NewRequestWithContext(ctx, call.Method, c.base+call.Path, bytes.NewReader(body))
	if err != nil {
		return nil, evidence.Exchange{}, err
	}
	// A server may close a connection that was kept, just when the next request comes: that is no failure. With this key, which
	// is not sent as it has no value, the transport then asks over a new connection; one that was new is never tried again.
	request.Header["Idempotency-Key"] = nil
	if call.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.header {
		request.Header.Set(name, value)
	}
	for name, value := range call.Header {
		if value == "" {
			request.Header[http.CanonicalHeaderKey(name)] = nil
			continue
		}
		request.Header.Set(name, value)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, evidence.Exchange{}, err
	}
	return response, evidence.Exchange{
		Method: call.Method, URL: c.base + call.Path, RequestHeader: c.withoutSecrets(request.Header), RequestBody: string(body),
		Status: response.StatusCode, ResponseHeader: response.Header,
	}, nil
}

// withoutSecrets is a header as evidence may show it: the values that the subject's profile gave are not for reports.
func (c *Client) withoutSecrets(header http.Header) http.Header {
	shown := header.Clone()
	for name := range c.header {
		if shown.Get(name) != "" {
			shown.Set(name, "(given)")
		}
	}
	return shown
}

func encode(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case string:
		return []byte(b), nil
	case []byte:
		return b, nil
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("the request cannot be encoded: %w", err)
	}
	return encoded, nil
}

// Abridge shortens a text for a message.
func Abridge(text string) string {
	const most = 400
	if len(text) <= most {
		return text
	}
	return text[:most] + fmt.Sprintf("... (%d bytes)", len(text))
}

// Milliseconds is a duration as evidence holds it.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
