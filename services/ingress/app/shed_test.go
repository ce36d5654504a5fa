package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"modal-github-runner/services/internal/natstest"
)

func TestATenantBeyondItsRateIsRefusedWhilePlacesAreShort(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	i := start(t, server.URL(), "INGRESS_MAX_IN_FLIGHT=2", "INGRESS_INSTALLATION_RATE=1", "INGRESS_INSTALLATION_BURST=1",
		"INGRESS_SOURCE_RATE=1000000", "INGRESS_SOURCE_BURST=1000000")
	poll(t, i.ready)
	noise, done := queued(t), make(chan struct{})
	var noisy sync.WaitGroup
	for s := range 4 {
		noisy.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
					i.send(fmt.Sprintf("noise-%d-%d", s, n), "workflow_job", noise)
				}
			}
		})
	}
	// However many of them there are, they leave one of the two places to another installation.
	poll(t, func() bool { return strings.Contains(i.log.String(), `"limit":"installation_rate"`) })
	other := bytes.Replace(noise, []byte(`"id": 3456996`), []byte(`"id": 3456997`), 1)
	if status := i.send("other", "workflow_job", other); status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
	close(done)
	noisy.Wait()
	if metrics := scrape(t, i); strings.Contains(metrics, `ingress_throttled_total{limit="installation_rate"} 0`) ||
		!strings.Contains(metrics, `ingress_throttled_total{limit="source_rate"} 0`) {
		t.Errorf("metrics:\n%s", metrics)
	}
}

func TestASourceThatSendsNothingSignedIsRefusedWhileRoomIsShort(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	i := start(t, server.URL(), "INGRESS_TRUSTED_PROXIES=1", "INGRESS_SOURCE_RATE=1", "INGRESS_SOURCE_BURST=1")
	poll(t, i.ready)
	large := make([]byte, 1<<20)
	fill := func() {
		for range 20 { // A little more than half of the room.
			conn := hold(t, i.Addr())
			// They end within 3 s anyhow; one that is pushed out before does no harm.
			_, _ = conn.Write(large[:len(large)-1])
		}
	}
	// On a slow machine the source may earn its next request, and what fills the room may go, before there is a refusal.
	poll(t, func() bool {
		fill()
		i.forge("198.51.100.1")
		i.forge("198.51.100.1")
		return !strings.Contains(scrape(t, i), `ingress_throttled_total{limit="source_rate"} 0`)
	})
}

// forge sends a webhook that is not signed, as a proxy does that had it from an address.
func (i *instance) forge(from string) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+i.Addr()+"/webhooks/github", strings.NewReader("{}"))
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Forwarded-For", from)
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err == nil {
		_ = response.Body.Close()
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	i := start(t, server.URL())
	poll(t, i.ready)
	// An answered request leaves a connection that is kept alive for a minute.
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://" + i.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); errors.Join(err, response.Body.Close()) != nil {
		t.Fatal(err)
	}
	metrics := scrape(t, i)
	for _, want := range []string{"ingress_connections 1\n", "ingress_connections_dropped_total 0\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in:\n%s", want, metrics)
		}
	}
}
