package fakemodal

import (
	"encoding/json"
	"fmt"
	"net/http"

	"modal-github-runner/services/simulator/internal/fakemodal/catalog"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 64 << 10

// ControlHandler serves what tests and the demo use beside Modal's own protocol:
//
//	GET /sandboxes   the Snapshot
//	GET /options     the limits in force
//	PUT /options     replaces them; what is left out means no bound
//	POST /objects    makes the Objects, or makes them anew
//
// It has no authentication: bind it to loopback.
func (s *Server) ControlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sandboxes", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Snapshot()) })
	mux.HandleFunc("GET /options", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.store.Limits()) })
	mux.HandleFunc("PUT /options", s.putOptions)
	mux.HandleFunc("POST /objects", s.postObjects)
	return mux
}

// Objects are what somebody has made at Modal's dashboard, in the main environment.
type Objects struct {
	// Secrets are variables by the names of secrets.
	Secrets map[string]map[string]string `json:"secrets,omitempty"`
	Volumes []string                     `json:"volumes,omitempty"`
	// Registries are private ones, by their hosts.
	Registries map[string]catalog.Login `json:"registries,omitempty"`
	// FailingSteps are instructions of Dockerfiles with which no image can be built, by what their builds say then; an empty text has them
	// succeed again.
	FailingSteps map[string]string `json:"failing_steps,omitempty"`
}

func (s *Server) postObjects(w http.ResponseWriter, r *http.Request) {
	var made Objects
	if !decode(w, r, "objects", &made) {
		return
	}
	for name, variables := range made.Secrets {
		s.objects.PutSecret(name, variables)
	}
	for _, name := range made.Volumes {
		s.objects.PutVolume(name)
	}
	for host, login := range made.Registries {
		s.images.SetRegistry(host, login)
	}
	for instruction, log := range made.FailingSteps {
		s.images.SetFailing(instruction, log)
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

func (s *Server) putOptions(w http.ResponseWriter, r *http.Request) {
	var limits sandbox.Limits
	if !decode(w, r, "options", &limits) {
		return
	}
	if err := s.SetLimits(limits); err != nil {
		refuse(w, "options", err)
		return
	}
	writeJSON(w, http.StatusOK, limits)
}

// decode reads the body, or answers why it can't.
func decode(w http.ResponseWriter, r *http.Request, what string, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err != nil {
		refuse(w, what, err)
	}
	return err == nil
}

func refuse(w http.ResponseWriter, what string, err error) {
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("%s: %v", what, err)})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // fails only if the client has gone
}
