package exact

import (
	"testing"
	"time"
)

// Workers rely on it that nobody brings a backup back while a job is fresh: a story in which the faults stop meanwhile would blame them.
func TestABackupIsBackNoSoonerThoughFaultsStop(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		restores bool
		away     time.Duration // the broker, once faults have stopped
	}{
		"a restart ends with the faults":           {},
		"a backup takes as long as it always does": {true, restoreTakes - 20*time.Second},
	} {
		s := New(Options{Jobs: 1, Intensity: Calm, Warm: -1})
		s.backUp()
		s.stopBroker(10 * time.Minute)
		if tt.restores {
			s.restore(0)
		}
		s.run(20 * time.Second)
		s.heal()
		if away := s.brokerDown - s.now; away != tt.away {
			t.Errorf("%s: it is away for %v, want %v", name, away, tt.away)
		}
	}
}
