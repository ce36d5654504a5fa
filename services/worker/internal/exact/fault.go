package exact

// Fault is something that goes wrong on purpose. Its value is its name in reports.
type Fault string

// The faults. Those of the weather come and go, and hit whoever is there; the others hit one call, message or sandbox.
const (
	WebhookLost       Fault = "webhook lost"
	WebhookTwice      Fault = "webhook delivered twice"
	WebhookByTwoHooks Fault = "webhook by two hooks"
	WebhookLate       Fault = "webhook late by up to two hours"
	// IngressAway is row F01 for all webhooks at once, and for those that are sent again: GitHub can't deliver them.
	IngressAway      Fault = "ingress away for up to an hour"
	PubAckLost       Fault = "publish acknowledgement lost"
	DeliveredTwice   Fault = "message delivered to two workers"
	AckLost          Fault = "acknowledgement lost"
	DeliveriesSpent  Fault = "message not delivered again"
	LedgerAnswerLost Fault = "ledger's answer lost"
	DedupeForgotten  Fault = "duplicates forgotten by the broker"

	WorkerDiesBefore Fault = "worker dies before a call's effect"
	WorkerDiesAfter  Fault = "worker dies after a call's effect"

	GitHubError     Fault = "GitHub answers 5xx"
	JITAnswerLost   Fault = "JIT answer lost"
	JITLate         Fault = "JIT request works after its deadline"
	GitHubLimit     Fault = "GitHub's rate limit"
	GitHubLag       Fault = "GitHub's API lags behind"
	DeregisterLost  Fault = "deregistration's answer lost"
	NoticeLost      Fault = "check run's answer lost"
	NoticeLate      Fault = "check run comes after its deadline"
	ModalError      Fault = "Modal answers 503"
	CreateLost      Fault = "create's answer lost"
	CreateLate      Fault = "create works after its deadline"
	GiveLost        Fault = "warm sandbox's answer lost, when it is given"
	GiveLate        Fault = "warm sandbox given after the deadline"
	WarmDies        Fault = "sandbox dies while it waits for a runner"
	ModalCapacity   Fault = "Modal has no capacity"
	ListFails       Fault = "list fails half-way"
	TerminateLags   Fault = "terminate accepted, still running"
	GoodbyeHangs    Fault = "runner that was released does not end"
	BootCrash       Fault = "sandbox dies before its runner registers"
	BootHang        Fault = "sandbox hangs before its runner starts"
	Unscheduled     Fault = "sandbox scheduled late by up to twenty minutes"
	Deaf            Fault = "sandbox answers no question"
	RunnerDies      Fault = "sandbox dies in the middle of a job"
	RunnerLeaves    Fault = "runner exits with 0 without a job"
	WorkerFreezes   Fault = "worker frozen"
	WorkerKilled    Fault = "worker killed"
	WorkersRoll     Fault = "all workers restarted one after the other"
	WorkerCutOff    Fault = "worker cut off from NATS"
	LedgerReadOnly  Fault = "worker can pull but not write the ledger"
	BrokerRestarts  Fault = "broker restarts"
	GitHubAway      Fault = "GitHub away"
	GPUsAway        Fault = "Modal has no GPUs for up to an hour"
	ModalAway       Fault = "Modal away"
	QueuePurged     Fault = "stream purged"
	BackupRestored  Fault = "broker's storage restored from a backup"
	ClockSkew       Fault = "worker's clock wrong"
	TwoLeaders      Fault = "two workers lead"
	RefusedForever  Fault = "registration refused for good, until mended"
	ReplayedTwice   Fault = "dead letter replayed twice"
	JobCancelled    Fault = "job cancelled while queued"
	JobHeld         Fault = "job queued, held and queued again"
	StolenByForeign Fault = "runner taken by a job that asks for self-hosted only"
	StolenBySilent  Fault = "runner taken by a job of a silent repository"
	StolenAcross    Fault = "runner taken by a job of other labels"
	JobForeign      Fault = "job with labels that we do not serve"
	EventsReordered Fault = "events of a job out of order"
)

// kind is what there is to a fault.
type kind struct {
	fault Fault
	// rate is how often it hits what it can hit; of the weather's, how often an hour. Those of rate 0 come of other things.
	rate float64
	// rows are those of the fault catalogue that it plays.
	rows []string
}

func kindsOfFaults() []kind {
	return []kind{
		{WebhookLost, 0.05, []string{"F01"}},
		{WebhookTwice, 0.02, []string{"F02"}},
		{WebhookByTwoHooks, 0.01, []string{"F03"}},
		{WebhookLate, 0.003, []string{"F04"}},
		{PubAckLost, 0.005, []string{"F20"}},
		{DeliveredTwice, 0.005, []string{"F42"}},
		{AckLost, 0.005, []string{"F33"}},
		{DeliveriesSpent, 0.02, []string{"F35"}},
		{LedgerAnswerLost, 0.001, nil},
		{DedupeForgotten, 1, []string{"F38"}},
		{WorkerDiesBefore, 0.0001, []string{"F41"}},
		{WorkerDiesAfter, 0.0001, []string{"F41", "F51"}},
		{GitHubError, 0.01, []string{"F11"}},
		{JITAnswerLost, 0.02, []string{"F07", "F11"}},
		{JITLate, 0.003, []string{"F07"}},
		{GitHubLimit, 0, []string{"F10"}},
		{GitHubLag, 0.05, []string{"F12"}},
		{DeregisterLost, 0.01, nil},
		{NoticeLost, 0.1, nil}, // There are few of them.
		{NoticeLate, 0.1, nil},
		{ModalError, 0.01, []string{"F65"}},
		{CreateLost, 0.01, []string{"F45"}},
		{CreateLate, 0.003, []string{"F45", "F64"}},
		{GiveLost, 0.05, nil}, // There are few of them.
		{GiveLate, 0.03, nil},
		{WarmDies, 0.05, nil},
		{ModalCapacity, 0.01, []string{"F46"}},
		{ListFails, 0.02, []string{"F50"}},
		{TerminateLags, 0.3, []string{"F49"}}, // Few are still running.
		{GoodbyeHangs, 0.2, []string{"F49"}},
		{BootCrash, 0.01, []string{"F47"}},
		{BootHang, 0.002, []string{"F47"}},
		{Unscheduled, 0.01, []string{"F47"}},
		{Deaf, 0.005, []string{"F47"}},
		{RunnerDies, 0.003, []string{"F48"}},
		{RunnerLeaves, 0.003, []string{"F63"}},
		{WorkerFreezes, 6, []string{"F34"}},
		{WorkerKilled, 120, []string{"F41"}},
		{WorkersRoll, 1, []string{"F44"}},
		{WorkerCutOff, 4, []string{"F21"}},
		{LedgerReadOnly, 2, []string{"F22"}},
		{BrokerRestarts, 2, []string{"F29"}},
		{GitHubAway, 1, nil},
		{ModalAway, 1, nil},
		{GPUsAway, 1, []string{"F46"}},
		{IngressAway, 1, []string{"F01"}},
		{QueuePurged, 1, []string{"F59"}},
		{BackupRestored, 4, []string{"F60"}},
		{ClockSkew, 1, []string{"F54", "F55"}},
		{TwoLeaders, 2, nil},
		{RefusedForever, 0.002, []string{"F08"}},
		{ReplayedTwice, 0, []string{"F61"}},
		{JobCancelled, 0.1, []string{"F05"}},
		{JobHeld, 0.05, nil},
		{StolenByForeign, 0.04, []string{"F06"}},
		{StolenBySilent, 0.03, []string{"F06"}},
		{StolenAcross, 0, []string{"F06"}},
		{JobForeign, 0.03, []string{"F16"}},
		{EventsReordered, 0, []string{"F04"}},
	}
}

// Faults lists all faults.
func Faults() []Fault {
	var all []Fault
	for _, k := range kindsOfFaults() {
		all = append(all, k.fault)
	}
	return all
}

// Rows are the rows of the fault catalogue that the fault plays.
func (f Fault) Rows() []string {
	for _, k := range kindsOfFaults() {
		if k.fault == f {
			return k.rows
		}
	}
	return nil
}

// hits decides whether the fault hits what these dice are for. They are thrown whatever is asked for, so that a story
// without one fault is otherwise the same.
func (s *Sim) hits(f Fault, d *dice) bool {
	hit := d.chance(s.rates[f] * s.Intensity)
	if !hit || s.healed || s.Without[f] {
		return false
	}
	s.count(f)
	return true
}

func (s *Sim) count(f Fault) { s.faults[f]++ }
