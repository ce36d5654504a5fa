package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// certificateLasts is longer than any simulator runs.
const certificateLasts = 30 * 24 * time.Hour

// Router is a way to Modal's command router for clients on other hosts. The SDK speaks TLS to it unless the server is on its own
// machine (modal-client v0.11.1, Profile.isLocalhost), whatever scheme MODAL_SERVER_URL has.
type Router struct {
	// Addr is where to listen, Host the name by which clients reach it, with the same port.
	Addr, Host string
	// CertFile gets the certificate that clients are to trust, in PEM. Its key is nowhere but in memory.
	CertFile string
}

// url is "" of none.
func (r *Router) url() string {
	if r == nil {
		return ""
	}
	_, port, _ := net.SplitHostPort(r.Addr) // Listening on it says what is wrong with it.
	return "https://" + net.JoinHostPort(r.Host, port)
}

// listen makes a new certificate for the host.
func (r *Router) listen(ctx context.Context) (net.Listener, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the command router: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "simulated Modal"}, DNSNames: []string{r.Host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLasts),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the command router: %w", err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(r.CertFile, content, 0o644); err != nil { //nolint:gosec // others are to read it
		return nil, fmt.Errorf("certificate of the command router: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", r.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the command router: %w", err)
	}
	return tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
	}), nil
}
