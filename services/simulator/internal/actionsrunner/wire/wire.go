// Package wire is the language between the simulated runner and the simulated GitHub's runner service: JSON over HTTP,
// private to the simulator. The real protocol is not public, so nothing outside the simulator may rely on this one.
package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// The files inside a JIT configuration, as the real runner names them.
const (
	SettingsFile    = ".runner"
	CredentialsFile = ".credentials"
	KeyFile         = ".credentials_rsaparams"
)

// Settings is the file .runner (the fields of RunnerSettings in actions/runner).
type Settings struct {
	AgentID       int64  `json:"AgentId"`
	AgentName     string `json:"AgentName"`
	PoolID        int64  `json:"PoolId"`
	PoolName      string `json:"PoolName"`
	DisableUpdate bool   `json:"DisableUpdate"`
	Ephemeral     bool   `json:"Ephemeral"`
	ServerURL     string `json:"ServerUrl"`
	GitHubURL     string `json:"GitHubUrl"`
	WorkFolder    string `json:"WorkFolder"`
	UseV2Flow     bool   `json:"UseV2Flow"`
	ServerURLV2   string `json:"ServerUrlV2"`
}

// Credentials is the file .credentials.
type Credentials struct {
	Scheme string          `json:"scheme"`
	Data   CredentialsData `json:"data"`
}

// CredentialsData says where a token would come from; the simulator has no such service and ignores it.
type CredentialsData struct {
	ClientID                string `json:"clientId"`
	AuthorizationURL        string `json:"authorizationUrl"`
	RequireFipsCryptography string `json:"requireFipsCryptography"`
}

// Key is the file .credentials_rsaparams. It has the fields of an RSA key; D is the registration's secret.
type Key struct {
	D        string `json:"d"`
	DP       string `json:"dp"`
	DQ       string `json:"dq"`
	Exponent string `json:"exponent"`
	InverseQ string `json:"inverseQ"`
	Modulus  string `json:"modulus"`
	P        string `json:"p"`
	Q        string `json:"q"`
}

// EncodeJIT packs files, by name, as encoded_jit_config holds them: base64 of a JSON object of base64 contents.
func EncodeJIT(files map[string]any) (string, error) {
	packed := make(map[string][]byte, len(files))
	for name, content := range files {
		b, err := json.Marshal(content)
		if err != nil {
			return "", fmt.Errorf("encode %s: %w", name, err)
		}
		packed[name] = b
	}
	b, err := json.Marshal(packed)
	if err != nil {
		return "", fmt.Errorf("encode JIT configuration: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// DecodeJIT unpacks what EncodeJIT packed. Its errors never quote the configuration, which is a secret.
func DecodeJIT(config string) (map[string][]byte, error) {
	b, err := base64.StdEncoding.DecodeString(config)
	if err != nil {
		return nil, fmt.Errorf("JIT configuration: must be base64 (%d characters)", len(config))
	}
	var files map[string][]byte
	if err := json.Unmarshal(b, &files); err != nil {
		return nil, fmt.Errorf("JIT configuration: must be a JSON object of base64 strings (%d bytes)", len(b))
	}
	return files, nil
}

// ConnectRequest opens a session: POST {server}/sessions.
type ConnectRequest struct {
	AgentID int64  `json:"agent_id"`
	Secret  string `json:"secret"`
	Version string `json:"version"`
	OS      string `json:"os"`
}

// ConnectResponse names the session. The id is the key to every other call.
type ConnectResponse struct {
	SessionID string `json:"session_id"`
}

// Message is an answer of GET {server}/sessions/{id}/message; 204 means none yet.
type Message struct {
	JobID  int64 `json:"job_id"`
	Cancel bool  `json:"cancel,omitempty"`
}

// Job is the answer of POST {server}/sessions/{id}/jobs/{job}/acquire.
type Job struct {
	ID         int64  `json:"id"`
	Name       string `json:"name"`
	Repository string `json:"repository"`
	Workflow   string `json:"workflow"`
	RunID      int64  `json:"run_id"`
	RunNumber  int    `json:"run_number"`
	RunAttempt int    `json:"run_attempt"`
	Event      string `json:"event"`
	Branch     string `json:"branch"`
	SHA        string `json:"sha"`
	ServerURL  string `json:"server_url"`
	APIURL     string `json:"api_url"`
	Steps      []Step `json:"steps"`
}

// Step is one command, and in reports (POST .../jobs/{job}/steps) how far it is.
type Step struct {
	Number      int       `json:"number"`
	Name        string    `json:"name"`
	Run         string    `json:"run,omitempty"`
	Status      string    `json:"status,omitempty"`
	Conclusion  string    `json:"conclusion,omitempty"`
	ExitCode    int       `json:"exit_code,omitempty"`
	Output      string    `json:"output,omitempty"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
}

// Result ends a job: POST .../jobs/{job}/complete.
type Result struct {
	Conclusion string `json:"conclusion"` // "success", "failure" or "cancelled"
	ExitCode   int    `json:"exit_code"`
}

// Code tells refusals apart.
type Code string

// The refusals of the runner service.
const (
	CodeDeregistered Code = "registration_deleted"
	CodeCredentials  Code = "bad_credentials"
	CodeConflict     Code = "session_conflict"
	CodeDeprecated   Code = "version_deprecated"
	CodeNotFound     Code = "job_not_found"
	CodeFault        Code = "fault"
	CodeBadRequest   Code = "bad_request"
)

// Refusal is the body of every answer that is not 2xx.
type Refusal struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}
