package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v4"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/natsx"
)

// ownAuthority writes what the openssl of deployments/DEPLOY.md does: a certificate for the name nats that nobody else has signed.
func ownAuthority(t *testing.T, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"nats"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWithItsSecondFileComposeHasTLSToNATS(t *testing.T) {
	type service struct {
		Environment map[string]string
		Secrets     []string
	}
	var stack struct {
		Services map[string]service
		Secrets  map[string]struct{ File string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "deployments", "compose", "nats-tls.yml")), &stack); err != nil {
		t.Fatal(err)
	}
	const mounted = "/run/secrets/"
	for _, name := range []string{"ingress", "worker"} {
		s := stack.Services[name]
		authority, ok := strings.CutPrefix(s.Environment["NATS_CA_FILE"], mounted)
		if !ok || !slices.Contains(s.Secrets, authority) || s.Environment["NATS_URL"] != "tls://nats:4222" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	for secret := range stack.Secrets {
		if !slices.ContainsFunc([]string{"nats", "ingress"}, func(s string) bool { return slices.Contains(stack.Services[s].Secrets, secret) }) {
			t.Errorf("nobody has the secret %s", secret)
		}
	}

	// The configuration as in the container, with the secrets in another folder.
	etc := t.TempDir()
	if err := os.CopyFS(etc, os.DirFS(filepath.Join(repositoryRoot(t), "deployments", "nats"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(etc, stack.Services["nats"].Environment["NATS_CONFIG"])
	content := string(readFile(t, file))
	for _, secret := range stack.Services["nats"].Secrets {
		if !strings.Contains(content, mounted+secret+"\n") {
			t.Errorf("the server does not use %s", secret)
		}
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(content, mounted, etc+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	certificate := filepath.Join(etc, "nats_tls_certificate")
	ownAuthority(t, certificate, filepath.Join(etc, "nats_tls_key"))
	s := accountsServer(t, func(o *server.Options) {
		over, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Fatal(err)
		}
		over.Host, over.Port, over.HTTPPort, over.StoreDir, over.NoSigs, over.NoLog = o.Host, o.Port, o.HTTPPort, o.StoreDir, o.NoSigs, o.NoLog
		*o = *over
	})
	address := strings.Replace(s.ClientURL(), "nats://", "tls://", 1)
	named := func(o *nats.Options) error { // It is reached as nats there, and as this machine here.
		if o.TLSConfig == nil {
			o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		o.TLSConfig.ServerName = "nats"
		return nil
	}
	connect := func(environ ...string) *nats.Conn {
		var cfg natsx.Config
		if _, err := config.Load(append(environ, "NATS_URL="+address, "NATS_USER=worker", "NATS_PASSWORD=w"), &cfg); err != nil {
			t.Fatal(err)
		}
		conn, err := natsx.Connect(cfg, natsx.Options{
			Name: "worker", Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Extra: []nats.Option{named},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		return conn
	}
	told := connect("NATS_CA_FILE=" + certificate)
	eventually(t, "who knows the authority is connected", func(context.Context) bool { return told.IsConnected() })
	untold := connect()
	eventually(t, "who does not know it is told so", func(context.Context) bool {
		_, unknown := errors.AsType[x509.UnknownAuthorityError](untold.LastError())
		return unknown
	})
}
