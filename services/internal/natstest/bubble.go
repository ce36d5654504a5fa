package natstest

import (
	"runtime"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/ats"
	"go.uber.org/goleak"
)

// Main runs the tests of a package that has servers in bubbles (testing/synctest), and fails if a goroutine is left.
func Main(m *testing.M) {
	// The server's clock of access times waits on a channel of its package, which would hold the bubbles' time.
	ats.Register()
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

// DropTimers is to be called before a bubble that has a connection to NATS: nats.go keeps timers in a sync.Pool, and one of another bubble
// ends the process.
func DropTimers() {
	runtime.GC()
	runtime.GC() // What the first one only put aside.
}

// InProcess has a server listen nowhere, as there is no network in a bubble: clients come by [nats.InProcessServer].
func InProcess(o *server.Options) { o.DontListen = true }
