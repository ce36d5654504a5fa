// Command worker launches runners for the jobs on the queue. `worker check` lists the variables that configure it.
package main

import (
	"os"
	_ "time/tzdata" // The pools file names time zones, and an image may have none.

	"modal-github-runner/services/worker/app"
)

func main() { os.Exit(app.Main(os.Args[1:], os.Environ(), os.Stdout, os.Stderr, os.Exit)) }
