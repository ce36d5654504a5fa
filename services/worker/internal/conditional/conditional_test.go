package conditional_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"modal-github-runner/services/worker/internal/conditional"
)

// tagged serves bodies with ETags, and 304 to those who have them, as GitHub does.
type tagged struct {
	mu          sync.Mutex
	body        string
	tag         string
	full, empty int
	remaining   int
}

func (s *tagged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("X-Ratelimit-Remaining", fmt.Sprint(s.remaining))
	if s.tag != "" {
		w.Header().Set("Etag", s.tag)
	}
	if s.tag != "" && r.Header.Get("If-None-Match") == s.tag {
		s.empty++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	s.full++
	s.remaining--
	w.Header().Set("Link", `<http://next>; rel="next"`)
	_, _ = io.WriteString(w, s.body)
}

type asking struct {
	t      *testing.T
	client *http.Client
	url    string
}

func newAsking(t *testing.T, h http.Handler) asking {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return asking{t: t, client: &http.Client{Transport: conditional.New(transport)}, url: server.URL}
}

// reply is an answer as the client sees it.
type reply struct {
	status int
	header http.Header
	length int64
	body   string
}

func (a asking) ask(method, path, credentials string) reply {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.url+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", credentials)
	resp, err := a.client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return reply{status: resp.StatusCode, header: resp.Header, length: resp.ContentLength, body: string(body)}
}

func TestConditional(t *testing.T) {
	t.Run("what has not changed is answered from memory, in full and with the new rate limit", func(t *testing.T) {
		s := &tagged{body: "one", tag: `W/"1"`, remaining: 10}
		a := newAsking(t, s)
		a.ask("GET", "/x", "alice")
		s.remaining = 5
		got := a.ask("GET", "/x", "alice")
		if got.status != http.StatusOK || got.body != "one" || got.header.Get("Link") == "" || got.length != 3 {
			t.Errorf("got %+v, want the first answer", got)
		}
		if got := got.header.Get("X-Ratelimit-Remaining"); got != "5" {
			t.Errorf("got %s requests remaining, want 5", got)
		}
		if s.full != 1 || s.empty != 1 {
			t.Errorf("%d full and %d empty answers, want one of each", s.full, s.empty)
		}
	})
	t.Run("what has changed is answered anew and remembered", func(t *testing.T) {
		s := &tagged{body: "one", tag: `"1"`}
		a := newAsking(t, s)
		a.ask("GET", "/x", "alice")
		s.body, s.tag = "two", `"2"`
		for range 2 {
			if body := a.ask("GET", "/x", "alice").body; body != "two" {
				t.Errorf("got %q, want two", body)
			}
		}
		if s.full != 2 || s.empty != 1 {
			t.Errorf("%d full and %d empty answers, want 2 and 1", s.full, s.empty)
		}
	})
	t.Run("other credentials, another page and another method ask anew", func(t *testing.T) {
		s := &tagged{body: "one", tag: `"1"`}
		a := newAsking(t, s)
		a.ask("GET", "/x", "alice")
		a.ask("GET", "/x", "bob")
		a.ask("GET", "/x?page=2", "alice")
		a.ask("POST", "/x", "alice")
		if s.full != 4 || s.empty != 0 {
			t.Errorf("%d full and %d empty answers, want 4 and 0", s.full, s.empty)
		}
	})
	t.Run("an answer without a tag is not remembered", func(t *testing.T) {
		s := &tagged{body: "one"}
		a := newAsking(t, s)
		a.ask("GET", "/x", "alice")
		a.ask("GET", "/x", "alice")
		if s.full != 2 {
			t.Errorf("%d full answers, want 2", s.full)
		}
	})
	t.Run("an answer that is too large is passed on and not remembered", func(t *testing.T) {
		s := &tagged{body: strings.Repeat("x", 5<<20), tag: `"1"`}
		a := newAsking(t, s)
		for range 2 {
			if body := a.ask("GET", "/x", "alice").body; body != s.body {
				t.Errorf("got %d bytes, want %d", len(body), len(s.body))
			}
		}
		if s.full != 2 {
			t.Errorf("%d full answers, want 2", s.full)
		}
	})
	t.Run("what is used least is forgotten first", func(t *testing.T) {
		s := &tagged{body: strings.Repeat("x", 3<<20), tag: `"1"`}
		a := newAsking(t, s)
		a.ask("GET", "/used", "alice")
		for i := range 15 { // Together more than is remembered.
			a.ask("GET", fmt.Sprintf("/%d", i), "alice")
			a.ask("GET", "/used", "alice")
		}
		if s.full != 16 || s.empty != 15 {
			t.Errorf("%d full and %d empty answers, want 16 and 15", s.full, s.empty)
		}
		a.ask("GET", "/0", "alice")
		if s.full != 17 {
			t.Error("the oldest is still remembered")
		}
	})
	t.Run("many may ask at once", func(t *testing.T) {
		s := &tagged{body: "one", tag: `"1"`}
		a := newAsking(t, s)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range 20 {
					if body := a.ask("GET", fmt.Sprintf("/%d", i%4), "alice").body; body != "one" {
						t.Errorf("got %q, want one", body)
					}
				}
			})
		}
		wg.Wait()
		if s.empty < 100 {
			t.Errorf("%d of 160 answers were empty, want nearly all", s.empty)
		}
	})
}
