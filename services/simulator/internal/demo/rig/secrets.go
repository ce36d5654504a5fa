package rig

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
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
	ModalTokenID     string
	ModalTokenSecret string

	appKeyFile string
}

func newSecrets(dir string) (Secrets, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return Secrets{}, fmt.Errorf("app key: %w", err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	s := Secrets{
		Webhook: rand.Text(), AppKey: string(content), ModalTokenID: "ak-" + rand.Text(), ModalTokenSecret: "as-" + rand.Text(),
		appKeyFile: filepath.Join(dir, "app-key.pem"),
	}
	if err := os.WriteFile(s.appKeyFile, content, 0o600); err != nil {
		return Secrets{}, fmt.Errorf("app key: %w", err)
	}
	return s, nil
}

// github is what worker and simulator know of the GitHub App.
func (s Secrets) github() []string {
	return []string{"GITHUB_APP_ID=" + strconv.Itoa(appID), "GITHUB_APP_PRIVATE_KEY_FILE=" + s.appKeyFile}
}

// modal is what worker and simulator know of the Modal token.
func (s Secrets) modal() []string {
	return []string{"MODAL_TOKEN_ID=" + s.ModalTokenID, "MODAL_TOKEN_SECRET=" + s.ModalTokenSecret}
}
