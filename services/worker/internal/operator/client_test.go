package operator_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"modal-github-runner/services/worker/internal/operator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheWorkersAnswerComesAsItWasGiven(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/refused":
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"error":"id: must be that of a dead letter (got \"5\")"}`)
		case "/broken":
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html>")
		case "/cut":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "short")
		default:
			_, _ = io.WriteString(w, r.Method+" "+r.URL.String())
		}
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	port := addr[strings.LastIndex(addr, ":"):]
	for _, tt := range []struct{ name, addr, path, want, err string }{
		{"an answer", addr, "/jobs?state=dead", "POST /jobs?state=dead", ""},
		{"on this machine", port, "/jobs", "POST /jobs", ""},
		{"on this machine, as a listener says it", "0.0.0.0" + port, "/jobs", "POST /jobs", ""},
		{"a refusal", addr, "/refused", "", `id: must be that of a dead letter (got "5")`},
		{"a refusal in nobody's words", addr, "/broken", "", "the worker at " + addr + " answered 502 Bad Gateway"},
		{"an answer that ends early", addr, "/cut", "", "read the answer of the worker at " + addr + ": unexpected EOF"},
		{"nobody answers", "127.0.0.1:1", "/jobs", "", "ask the worker at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
		{"no path", addr, "/\x7f", "", "addr: parse \"http://" + addr + "/\\x7f\": net/url: invalid control character in URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, err := operator.NewClient(tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			got, err := client.Ask(t.Context(), http.MethodPost, tt.path)
			if string(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if _, err := operator.NewClient("nowhere"); err == nil || !strings.HasPrefix(err.Error(), `addr: must be host:port (got "nowhere")`) {
		t.Errorf("got %v", err)
	}
}
