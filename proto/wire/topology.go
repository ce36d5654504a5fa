package wire

import (
	"strings"
	"time"
)

const (
	// StreamJobs holds the job events.
	StreamJobs = "JOBS"
	// StreamDead holds what was given up, with the reason.
	StreamDead = "DEAD"
	// BucketRuns is the ledger: one record per job and one per runner.
	BucketRuns = "runs"
	// BucketControl holds what all workers share beside the ledger. Each key belongs to one package of the worker: deployment and
	// deliveries to control, leader to leader, places to places, runner-release to rollout, those with the prefix budget. to budget, and
	// those with image. to builds.
	BucketControl = "control"
	// ConsumerOutcomes is the durable consumer of everything but queued jobs.
	ConsumerOutcomes = "outcomes"

	queuedConsumer = "queued-"
)

const (
	// AckWait is how long the server waits for a sign of life of a worker that holds a message before it gives the
	// message to another. Workers give one every Heartbeat.
	AckWait = 30 * time.Second
	// Heartbeat leaves room for two lost signs of life and a pause of the worker before AckWait ends.
	Heartbeat = 8 * time.Second
)

// QueuedConsumer is the name of the durable consumer of the jobs that wait for a runner of pool.
func QueuedConsumer(pool string) string { return queuedConsumer + pool }

// PoolOfConsumer is the pool whose jobs a durable consumer is of; ok is false if it is another consumer.
func PoolOfConsumer(consumer string) (pool string, ok bool) {
	pool, ok = strings.CutPrefix(consumer, queuedConsumer)
	return pool, ok && CheckPoolName(pool) == nil
}

// Stream describes a stream. All streams are on file and keep a message until its age.
type Stream struct {
	Name     string
	Subjects []string
	// MaxAge is how long a message is kept.
	MaxAge time.Duration
	// MaxBytes is when the stream refuses more. Refusing is seen and retried; dropping the oldest would not be. Zero on a
	// stream with schedules, for which the server knows no refusing (nats-server 2.15.2: "message scheduling cannot use
	// discard new"): there the storage limit of the server or the account refuses instead.
	MaxBytes int64
	// Duplicates is the window in which the server stores a message of one Nats-Msg-Id once.
	Duplicates time.Duration
	// LastOnly keeps only the last message of each subject.
	LastOnly bool
	// Schedules allows messages that the server copies to another subject at a set time.
	Schedules bool
}

// Consumer describes a durable pull consumer with explicit acks that sees the whole stream.
type Consumer struct {
	Name     string
	Stream   string
	Subjects []string
	// AckWait is how long an unacknowledged message stays with one worker.
	AckWait time.Duration
	// MaxAckPending is how many messages all workers together may hold.
	MaxAckPending int
}

// Bucket describes a key-value bucket on file.
type Bucket struct {
	Name string
	// History is how many revisions of a key are kept.
	History uint8
	// TTL is how long a revision is kept.
	TTL time.Duration
}

// Topology is all that the services need the NATS server to have.
type Topology struct {
	// Replicas is on how many servers each stream and bucket lies; zero is one.
	Replicas  int
	Streams   []Stream
	Consumers []Consumer
	Buckets   []Bucket
}

const day = 24 * time.Hour

// IngestTopology is what a producer of job events needs. It may not see the rest.
func IngestTopology() Topology {
	return Topology{Streams: JobsTopology(nil).Streams[:1]}
}

// JobsTopology is the topology for the given pools, whose names CheckPoolName accepts. Replicas belong to the deployment,
// which sets them; placement is no part of it.
func JobsTopology(pools []string) Topology {
	t := Topology{
		Streams: []Stream{
			{
				Name: StreamJobs, Subjects: []string{"jobs.>"},
				MaxAge: 2 * day, // GitHub gives up a queued job after one day and cleans up within two.
				// A retry after a lost acknowledgement comes within seconds. The ledger is what tells real duplicates.
				Duplicates: 2 * time.Minute,
				Schedules:  true,
			},
			{
				Name: StreamDead, Subjects: []string{"dead.>"},
				MaxAge:     30 * day,  // Long enough for a person who was on leave.
				MaxBytes:   256 << 20, // A dead letter is small; a quarter of a million of them need no more.
				Duplicates: 2 * time.Minute,
				LastOnly:   true, // A job that is given up twice is one dead letter.
			},
		},
		Consumers: []Consumer{{
			Name: ConsumerOutcomes, Stream: StreamJobs,
			Subjects:      withFound(SubjectWaiting, SubjectStarted, SubjectFinished),
			AckWait:       AckWait,
			MaxAckPending: 1000, // The server's default: these are quick, and no limit of GitHub or Modal depends on them.
		}},
		Buckets: []Bucket{
			// A record is of use for as long as its job may run (five days at GitHub) and while people ask what happened.
			{Name: BucketRuns, History: 1, TTL: 7 * day},
			{Name: BucketControl, History: 1},
		},
	}
	for _, pool := range pools {
		t.Consumers = append(t.Consumers, Consumer{
			Name: QueuedConsumer(pool), Stream: StreamJobs,
			Subjects: withFound(QueuedSubject(pool)),
			AckWait:  AckWait,
			// GitHub allows 180 JIT configurations a minute and a launch takes seconds, so that more in flight would
			// only wait in a worker's memory instead of in the stream.
			MaxAckPending: 256,
		})
	}
	return t
}
