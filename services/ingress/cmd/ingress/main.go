// Command ingress turns GitHub's webhooks into job events. `ingress check` lists the variables that configure it.
package main

import (
	"os"
	_ "time/tzdata" // The pools file names time zones, and an image may have none.

	"modal-github-runner/services/ingress/app"
)

func main() { os.Exit(app.Main(os.Args[1:], os.Environ(), os.Stdout, os.Stderr, os.Exit)) }
