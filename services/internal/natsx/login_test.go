package natsx_test

import (
	"crypto/tls"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

func TestAServiceLogsInOverTLSWithAnNKey(t *testing.T) {
	t.Parallel()
	authority := httptest.NewTLSServer(http.NotFoundHandler()) // Its certificate is for 127.0.0.1.
	defer authority.Close()
	user, stranger := newUser(t), newUser(t)
	name, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	s := natstest.Start(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{Certificates: authority.TLS.Certificates, MinVersion: tls.VersionTLS12}
		o.Nkeys = []*server.NkeyUser{{Nkey: name}}
	})
	address, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw})
	for _, test := range []struct {
		name   string
		key    nkeys.KeyPair
		cfg    natsx.Config
		enters bool
	}{
		{"with its key and the authority", user, natsx.Config{CAFile: write(t, ca)}, true},
		{"with a key that the server does not know", stranger, natsx.Config{CAFile: write(t, ca)}, false},
		{"without the authority", user, natsx.Config{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			seed, err := test.key.Seed()
			if err != nil {
				t.Fatal(err)
			}
			test.cfg.URL, test.cfg.NKeyFile = []*url.URL{address}, write(t, seed)
			conn, err := natsx.Connect(test.cfg, natsx.Options{Name: "test", Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if conn.IsConnected() != test.enters {
				t.Errorf("connected is %v: %v", conn.IsConnected(), conn.LastError())
			}
		})
	}
}

func newUser(t *testing.T) nkeys.KeyPair {
	t.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func write(t *testing.T, content []byte) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
