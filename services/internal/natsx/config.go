package natsx

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"modal-github-runner/services/internal/config"
)

// Config is the operator's part of a connection.
type Config struct {
	URL       []*url.URL           `default:"nats://127.0.0.1:4222" doc:"comma list of NATS servers" env:"NATS_URL" schemes:"nats,tls,ws,wss" userinfo:"true"`
	CredsFile string               `doc:"file with NATS credentials (JWT and seed)" env:"NATS_CREDS_FILE"`
	User      string               `doc:"NATS user, instead of credentials; needs NATS_PASSWORD" env:"NATS_USER"`
	Password  *config.SecretSource `doc:"password of NATS_USER" env:"NATS_PASSWORD"`
	NKeyFile  string               `doc:"file with the seed of an nkey, instead of credentials" env:"NATS_NKEY_FILE"`
	CAFile    string               `doc:"PEM file of the authority that signed the NATS server's certificate" env:"NATS_CA_FILE"`
	Replicas  int                  `default:"1" doc:"on how many servers of a cluster the queue and the ledger lie: 1, 3 or 5" env:"NATS_REPLICAS"`
}

// Validate implements [config.Validator] for the rules across fields, and reads the files that are named.
func (c Config) Validate() error {
	errs := []error{c.checkSchemes()}
	hasPassword := !c.Password.Get().IsZero()
	if c.CredsFile != "" && c.User != "" {
		errs = append(errs, config.Invalid("NATS_USER", "must not be set together with NATS_CREDS_FILE", c.User))
	}
	if c.NKeyFile != "" && (c.CredsFile != "" || c.User != "") {
		errs = append(errs, config.Invalid("NATS_NKEY_FILE", "must not be set together with NATS_CREDS_FILE or NATS_USER", c.NKeyFile))
	}
	if c.User != "" && !hasPassword {
		errs = append(errs, config.Broken("is required with NATS_USER (or NATS_PASSWORD_FILE)", "NATS_PASSWORD", "NATS_USER"))
	}
	if c.User == "" && hasPassword {
		errs = append(errs, config.Broken("is required with NATS_PASSWORD", "NATS_USER", "NATS_PASSWORD"))
	}
	if err := checkCredentials(c.CredsFile); err != nil {
		errs = append(errs, config.Unusable("NATS_CREDS_FILE", "must name a file with a JWT and a seed", err))
	}
	if err := checkNKey(c.NKeyFile); err != nil {
		errs = append(errs, config.Unusable("NATS_NKEY_FILE", "must name a file with the seed of a user", err))
	}
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5 {
		errs = append(errs, config.Invalid("NATS_REPLICAS", "must be 1, 3 or 5", strconv.Itoa(c.Replicas)))
	}
	if err := checkAuthority(c.CAFile); err != nil {
		errs = append(errs, config.Unusable("NATS_CA_FILE", "must name a PEM file with a certificate", err))
	}
	return errors.Join(errs...)
}

// checkSchemes: the client speaks to all servers over WebSocket, or to none.
func (c Config) checkSchemes() error {
	var schemes []string
	web := 0
	for _, u := range c.URL {
		schemes = append(schemes, u.Scheme)
		if u.Scheme == "ws" || u.Scheme == "wss" {
			web++
		}
	}
	if web == 0 || web == len(c.URL) {
		return nil
	}
	return config.Invalid("NATS_URL", "must be all of nats and tls, or all of ws and wss", strings.Join(schemes, ","))
}

// checkCredentials reads the file as the client does for each connection, and signs something with the seed.
func checkCredentials(file string) error {
	if file == "" {
		return nil
	}
	var o nats.Options
	if err := nats.UserCredentials(file)(&o); err != nil {
		return err
	}
	_, err := o.SignatureCB([]byte("nonce"))
	return err
}

func checkNKey(file string) error {
	if file == "" {
		return nil
	}
	_, err := nats.NkeyOptionFromSeed(file)
	return err
}

func checkAuthority(file string) error {
	if file == "" {
		return nil
	}
	return nats.RootCAs(file)(new(nats.Options))
}
