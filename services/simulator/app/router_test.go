package app

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
)

func TestTheRouterIsTheHostThatItsCertificateNames(t *testing.T) {
	t.Parallel()
	r := &Router{Addr: "127.0.0.1:0", Host: "simulator", CertFile: filepath.Join(t.TempDir(), "cert.pem")}
	l, err := r.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = conn.Write([]byte("x")) // Only after the handshake.
		}
		served <- err
	}()
	content, err := os.ReadFile(r.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(content)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "simulator", NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if proto := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; proto != "h2" {
		t.Errorf("gRPC wants h2 (got %q)", proto)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := (&Router{Addr: "0.0.0.0:8084", Host: "simulator"}).url(); got != "https://simulator:8084" {
		t.Errorf("got %s", got)
	}
}
