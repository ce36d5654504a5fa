package webhook_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/ingress/internal/limit"
	"modal-github-runner/services/ingress/internal/webhook"
	"modal-github-runner/services/internal/faultstest"
)

// memory is a listener whose connections stay in this process, so that their deadlines pass in a bubble's time.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case conn := <-m.conns:
		return conn, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.close()
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{} }

func (m *memory) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	m.conns <- theirs
	return ours, nil
}

// serve serves the rig's handler until the test ends.
func (r *rig) serve(t *testing.T) *memory {
	t.Helper()
	m := &memory{conns: make(chan net.Conn), closed: make(chan struct{})}
	m.close = sync.OnceFunc(func() { close(m.closed) })
	server := &http.Server{Handler: r.handler, ReadHeaderTimeout: time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(m) }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), <-ended); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return m
}

// post sends a request over its own connection and returns the answer's status.
func (m *memory) post(t *testing.T, request *http.Request) int {
	t.Helper()
	request.URL.Scheme, request.URL.Host, request.RequestURI = "http", "ingress", ""
	response, err := (&http.Transport{DialContext: m.dial, DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); errors.Join(err, response.Body.Close()) != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// stranger sends the headers of a webhook, then one byte of its body a second.
type stranger struct {
	began    time.Time
	answered time.Duration // how long after it began
	answer   *http.Response
}

func (m *memory) slowly(t *testing.T, strangers *sync.WaitGroup) *stranger {
	t.Helper()
	s := &stranger{began: time.Now()}
	conn, err := m.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	strangers.Go(func() {
		if _, err := io.WriteString(conn, "POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"); err != nil {
			return
		}
		for {
			time.Sleep(time.Second)
			if _, err := io.WriteString(conn, " "); err != nil {
				return
			}
		}
	})
	strangers.Go(func() {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		s.answered = time.Since(s.began)
		if err == nil {
			s.answer = answer
			err = answer.Body.Close()
		}
		if err = errors.Join(err, conn.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestABodyThatTricklesIsCutOff(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F18")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		m := r.serve(t)
		var strangers sync.WaitGroup
		s := m.slowly(t, &strangers)
		strangers.Wait()
		synctest.Wait()
		if s.answer == nil || s.answer.StatusCode != http.StatusBadRequest || s.answered != 3*time.Second {
			t.Errorf("answer %v after %s", s.answer, s.answered)
		}
		if log := r.log.String(); !strings.Contains(log, "body came too slowly") || r.bodies.Held() != 0 {
			t.Errorf("%d bytes held; log:\n%s", r.bodies.Held(), log)
		}
	})
}

func TestAClientThatGoesAwayInTheMiddleOfABodyLeavesNothing(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F17")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		conn, err := r.serve(t).dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		var request strings.Builder
		if err := signed(ours(t)).Write(&request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request.String()[:request.Len()/2]); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(r.deliveries) != 1 || r.deliveries[0].Outcome != webhook.Malformed || len(r.queue.stored) != 0 || r.bodies.Held() != 0 {
			t.Errorf("counted as %v, %d published, %d bytes held", r.deliveries, len(r.queue.stored), r.bodies.Held())
		}
	})
}

func TestHoweverManySendSlowlyAWebhookGetsThrough(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F18", "F28")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		m := r.serve(t)
		var strangers sync.WaitGroup
		crowd := make([]*stranger, 10*room/limit.EntryCost)
		for n := range crowd {
			crowd[n] = m.slowly(t, &strangers)
			synctest.Wait()
		}
		if status := m.post(t, signed(ours(t))); status != http.StatusAccepted {
			t.Errorf("status %d", status)
		}
		strangers.Wait()
		pushed := 0
		for _, s := range crowd {
			if s.answer.StatusCode == http.StatusServiceUnavailable && s.answer.Header.Get("Retry-After") != "" && s.answered == 0 {
				pushed++
			}
		}
		// The last of them had room, less what the webhook took.
		if least, most := len(crowd)-8, len(crowd)-6; pushed < least || pushed > most {
			t.Errorf("%d pushed out, want %d to %d", pushed, least, most)
		}
		synctest.Wait()
		if held := r.bodies.Held(); held != 0 {
			t.Errorf("%d bytes held after all have gone", held)
		}
	})
}

func TestABodysDeadlineDoesNotCutOffThePublish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.queue.takes = 5 * time.Second
		if status := r.serve(t).post(t, signed(ours(t))); status != http.StatusAccepted {
			t.Errorf("status %d", status)
		}
	})
}
