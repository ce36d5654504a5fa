package exact

// Invariant is what must always hold.
type Invariant struct{ ID, Says string }

// Invariants lists those that are checked, in their order. Two are about processes, of which there are none here: I10, honest health,
// and I11, a clean exit; the tests that hold the processes to them are shown mutants as well. That a replay makes nothing happen
// twice is I3 and I8, too, with an operator who replays.
func Invariants() []Invariant {
	return []Invariant{
		{"I1", "what is acknowledged is on record"},
		{"I2", "nothing is done at GitHub or Modal for a job that is not ours"},
		{"I3", "of the runners launched for one job at most one can take a job, no job runs twice, and no sandbox is two runners'"},
		{"I4", "once faults have stopped, every job is served, over, or among the dead letters"},
		{"I5", "no sandbox outlives its use, and none is ended while it works"},
		{"I6", "no registration outlives its runner"},
		{"I7", "no JIT configuration is on record"},
		{"I8", "what is over stays over, and is on record as over"},
		{"I9", "no more sandboxes run than may, no worker has more in hand than it may, and no job asks GitHub in a loop"},
		{"I12", "the record says what became of the job, and why it waits"},
		{"I13", "whatever is replayed, one check run at most tells a job's author that it was given up"},
	}
}
