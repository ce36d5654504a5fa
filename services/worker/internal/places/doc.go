// Package places says which launch may have a sandbox now, and which must wait: for room, for its turn, for money, for a
// pool that is mended, or for an operator.
//
// One record, in the KV bucket "control", names the runners that hold a place. It changes by compare-and-set only, so that
// a limit holds exactly, however many workers race for the last place and whenever they die: a launch takes its place
// before it calls Modal, and gives it back only once its sandbox is known to be gone, or never to come. What nobody gave
// back a sweep finds, by Modal's own list. It is one record for all pools, since a limit over all of them, or of one
// repository in several, could not be exact over several records.
//
// A limit is one of a scope: all sandboxes, those of a pool, of an owner, or of a repository. As long as no scope of a
// launch is short, it takes its place where its message arrived. Once somebody had to wait, the scope is short: its places
// are then promised to those who wait, in the order of queue.go, by the worker that leads. Should two lead, or none, the
// limits hold all the same: a promise is a place, and where nobody has stood in line for long, whoever comes may go. None of that
// depends on clocks that agree, as long as they are not more than a minute apart.
//
// A place is no leave to create a sandbox for good: what an operator paused since, what a breaker or a budget says by then is looked
// at again before each creation (Proceed).
//
// Against a day's budget a launch counts with what it may cost, for an hour at most (money.go): else all who wait for a new day
// would go at its first moment, when nothing has been spent.
//
// A sandbox that waits for a runner (warm.go) is nobody's place, but counts and costs as one of its pool. How many there are to be is
// decided here, too (keep.go): they fill what no launch asks for, and go as soon as somebody waits.
//
// The record also has what is spent today, how fast each pool may create (AIMD), each pool's breaker, and what an operator has
// paused, since each of them decides the same question for all workers at once.
//
// The rules (record.go, take.go, obstacle.go, money.go, pool.go, line.go, queue.go, warm.go, keep.go) are pure; Book (book.go) keeps
// the record. No call to GitHub or Modal may ever live here.
package places
