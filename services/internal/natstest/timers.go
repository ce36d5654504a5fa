package natstest

import "runtime"

// DropTimers is to be called before a bubble (testing/synctest) that has a connection to NATS: nats.go keeps timers in a sync.Pool, and
// one of another bubble ends the process.
func DropTimers() {
	runtime.GC()
	runtime.GC() // What the first one only put aside.
}
