package sandbox

import (
	"crypto/rand"
	"encoding/base32"
)

// The SDK takes "sb-" and exactly 22 alphanumeric characters for V1 and everything else for V2 (isV1SandboxID in its
// sandbox.go); those of V2 are Crockford's base32 after a version, as ULIDs are.
const (
	v1Chars = 22
	v2Bytes = 15 // 24 characters
)

// Ids are random and not drawn from a seed: processes are found by them, also beside those of another simulator.
func newID(b Backend) string {
	if b == V1 {
		return "sb-" + rand.Text()[:v1Chars]
	}
	return "sb-01" + crockford()
}

func newTaskID() string { return "ta-01" + crockford() }

func crockford() string {
	var b [v2Bytes]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(b[:])
}
