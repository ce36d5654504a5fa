// Package run holds every rule about serving jobs, and nothing else: no I/O, no clock, no randomness, no log.
//
// There are two kinds of record. A Run is our record of serving one job of GitHub's. A Runner is our record of one
// registration and its sandbox. GitHub gives a runner to any job whose labels it covers, so a runner is never a job's
// own. What we keep is a matching: each job that waits is counted on one living runner (Run.Runner), and each runner
// is counted for at most one job (Runner.For). As long as that holds there are, for every set of labels, at least as
// many runners on their way or idle as jobs that wait, so every job is served.
//
// The matching is kept on the event itself. When runner R, counted for job A, takes job B:
//
//	B runs on R            Decide(run B, Started{R})       → Take{R by B, spare S}   S was counted for B
//	R is busy with B       DecideRunner(R, Taken{B, S})    → Lose{A, R, S}
//	A has lost R           Decide(run A, Lost{R, S})       → Count{S for A}, or Requeue{A} and Release{S}
//	S is counted for A     DecideRunner(S, Counted{A})     → Confirm{A, S}
//	A still counts on S    Decide(run A, Claimed{S})       → nothing, or Requeue{A} if S is not launched, or Release{S}
//
// A job that strangers may have written (Vetted) and one that is trusted never count on each other's runners, unless they are of one
// pool. GitHub knows nothing of that: labels are all that it goes by.
//
// Of some jobs no webhook tells: in an organization, those of a repository that sends us none. Such a job is known by the
// evidence from inside the sandbox, that the runner has a job while the one that counts on it waits:
//
//	R has a job, A waits   DecideRunner(R, Occupied{})     → Lose{A, R}
//
// A runner that nobody counts on any more is spare (Released). GitHub may still give it to a job that waits; after
// SpareTime it is asked, from inside its sandbox, whether it has a job, and ends if it has none. GitHub's own word, that a
// runner is not busy, is never acted on: it comes late.
//
// Each step changes one record, by compare-and-set, and says what is to be done next. A step asked for again changes
// nothing and says the same again. So a message that is handled from its beginning any number of times, after a crash
// between any two steps or by two workers at once, leads to the same end.
//
// Each change of a Run is told in its History, in words for a person, with GitHub's id of the delivery that it comes of, if it
// comes of one. STATES.md draws the states of both kinds of record. What the author of a job that is given up is told at GitHub
// is decided beside all that (Inform): no state depends on it.
package run
