package app_test

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
)

// hold sends the headers of a webhook and keeps its body back. It returns the connection once the server waits for the
// body, or has refused it.
func hold(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// The server says "100 Continue" when it begins to read the body.
	headers := "POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1048576\r\nExpect: 100-continue\r\n\r\n"
	if _, err := conn.Write([]byte(headers)); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestStrangersWhoSendSlowlyKeepNoWebhookOut(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F18")
	server := natstest.Start(t)
	i := start(t, server.URL())
	poll(t, i.ready)
	for range 300 { // More than may be at work at once.
		hold(t, i.Addr())
	}
	if status := i.send("ours", "workflow_job", queued(t)); status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
}

func TestABodyThatTricklesIsCutOffLongBeforeGitHubWouldGiveUp(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F18")
	server := natstest.Start(t)
	i := start(t, server.URL())
	began := time.Now()
	conn := hold(t, i.Addr())
	var trickling sync.WaitGroup
	trickling.Go(func() {
		for {
			if _, err := conn.Write([]byte(" ")); err != nil {
				return
			}
			select {
			case <-t.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	answer := bufio.NewReader(conn)
	for line := "\n"; !strings.HasPrefix(line, "HTTP/1.1 400"); {
		var err error
		if line, err = answer.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("after %s", took)
	}
	_ = conn.Close()
	trickling.Wait()
}
