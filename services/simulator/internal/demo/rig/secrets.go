package rig

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// keyBits is the size of the keys that GitHub makes for Apps.
const keyBits = 2048

// Secrets are made for one run.
type Secrets struct {
	Webhook          string
	AppKey           string // PEM
	GitHubToken      string // of a person
	ModalTokenID     string
	ModalTokenSecret string
}

// SecretFile is the name of a file in the rig's directory that the services read a secret from.
type SecretFile string

// The files of the services' secrets.
const (
	WebhookSecret    SecretFile = "webhook-secret"
	AppKey           SecretFile = "app-key.pem"
	GitHubToken      SecretFile = "github-token"
	ModalTokenSecret SecretFile = "modal-token-secret" //nolint:gosec // the name of a file
)

func newSecrets() (Secrets, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return Secrets{}, fmt.Errorf("app key: %w", err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return Secrets{
		Webhook: rand.Text(), AppKey: string(content), GitHubToken: "ghp_" + rand.Text(),
		ModalTokenID: "ak-" + rand.Text(), ModalTokenSecret: "as-" + rand.Text(),
	}, nil
}

func (r *Rig) path(f SecretFile) string { return filepath.Join(r.options.Dir, string(f)) }

func (r *Rig) writeSecrets() error {
	return errors.Join(r.SetSecret(WebhookSecret, r.Secrets.Webhook), r.SetSecret(AppKey, r.Secrets.AppKey),
		r.SetSecret(GitHubToken, r.Secrets.GitHubToken),
		r.SetSecret(ModalTokenSecret, r.Secrets.ModalTokenSecret))
}

// SetSecret replaces the content of a secret's file, as an operator does who rotates it: at once, so that nobody reads a half
// of it. What GitHub and Modal accept stays as it is.
func (r *Rig) SetSecret(f SecretFile, value string) error {
	next := r.path(f) + ".next"
	if err := os.WriteFile(next, []byte(value), 0o600); err != nil {
		return fmt.Errorf("secret file: %w", err)
	}
	return os.Rename(next, r.path(f))
}

// githubApp is what workers and the simulator know of the GitHub App.
func (r *Rig) githubApp() []string {
	return []string{"GITHUB_APP_ID=" + strconv.Itoa(appID), "GITHUB_APP_PRIVATE_KEY_FILE=" + r.path(AppKey)}
}
