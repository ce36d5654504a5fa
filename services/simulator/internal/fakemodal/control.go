package fakemodal

import (
	"encoding/json"
	"fmt"
	"net/http"

	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
)

// maxOptions bounds the body of PUT /options, in bytes.
const maxOptions = 64 << 10

// ControlHandler serves what tests and the demo use beside Modal's own protocol:
//
//	GET /sandboxes   the Snapshot
//	GET /options     the limits in force
//	PUT /options     replaces them; what is left out means no bound
//
// It has no authentication: bind it to loopback.
func (s *Server) ControlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sandboxes", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Snapshot()) })
	mux.HandleFunc("GET /options", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.store.Limits()) })
	mux.HandleFunc("PUT /options", s.putOptions)
	return mux
}

func (s *Server) putOptions(w http.ResponseWriter, r *http.Request) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOptions))
	decoder.DisallowUnknownFields()
	var limits sandbox.Limits
	if err := decoder.Decode(&limits); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("options: %v", err)})
		return
	}
	if err := s.SetLimits(limits); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("options: %v", err)})
		return
	}
	writeJSON(w, http.StatusOK, limits)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // fails only if the client has gone
}
