package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
)

// Raw sends bytes that no HTTP client would send and returns what came back until the worker closed the connection.
func Raw(ctx context.Context, base, request string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return "", err
	}
	defer func() { _ = connection.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	if _, err := io.WriteString(connection, request); err != nil {
		return "", fmt.Errorf("send: %w", err)
	}
	answer, err := io.ReadAll(io.LimitReader(connection, maxBody))
	if err != nil && len(answer) == 0 {
		return "", fmt.Errorf("receive: %w", err)
	}
	return string(answer), nil
}
