package obs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	healthcheckTimeout = 3 * time.Second
	maxHealthAnswer    = 4 << 10
)

// Healthcheck asks the admin listener at addr ("host:port"; without a host, this machine) whether the service is ready.
// It returns nil or the reason why not, within three seconds. Images without a shell use it as their health check.
func Healthcheck(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("admin address: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port) // A URL can't have a service's name there.
	if err != nil {
		return fmt.Errorf("admin address: %w", err)
	}
	url := "http://" + net.JoinHostPort(host, strconv.Itoa(number)) + "/readyz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("admin address: %w", err)
	}
	// Its own transport: a proxy from the environment has no business between a process and itself.
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("ask admin listener: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxHealthAnswer))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("read answer of admin listener: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("service is not ready: %s", strings.TrimSpace(string(body)))
	}
	return nil
}
