// Package fakedocker is what the image of simulated sandboxes has in place of Docker: an engine that runs only where Modal would let
// it, and a client that runs commands without containers.
//
// How a sandbox starts its engine, and whether jobs reach it, is shown with it; what containers are is not.
package fakedocker

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed dockerd.sh
var engine []byte

//go:embed docker.sh
var client []byte

//go:embed network.sh
var network []byte

// Write puts the commands dockerd and docker into dir, which it makes, and those that give containers a network: a sandbox that asked
// for it would else change the network of the machine on which it is simulated.
func Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // programs that any user may run
		return fmt.Errorf("simulated Docker: %w", err)
	}
	for name, content := range map[string][]byte{
		"dockerd": engine, "docker": client, "ip": network, "sysctl": network, "iptables-legacy": network,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o755); err != nil { //nolint:gosec // see above
			return fmt.Errorf("simulated Docker: %w", err)
		}
	}
	return nil
}
