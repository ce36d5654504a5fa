package run

import "time"

// Replayed says that an operator wants a job that was given up to be tried once more. The attempts made so far don't count
// any more, but the names of their runners stay used. It comes too late once GitHub has cancelled the job (GiveUpAfter).
type Replayed struct{}

func (Replayed) cause() string { return ByOperator }

// replayed makes the job wait again, unless a runner of another job has taken it since. Like a job that was held it keeps the
// runner that it counted on: Launch tells if that one is of no use any more.
func replayed(r Run, now time.Time) (Run, []Effect) {
	if r.State == Dead && now.Sub(r.QueuedAt) < GiveUpAfter {
		r.Failures, r.Reason, r.Forgiven = 0, "", r.Attempts
		switch {
		case r.Over():
			r.State = Done
		case !r.StartedAt.IsZero():
			r.State = Running
		default:
			r.State, r.FreeSince = Waiting, now
		}
	}
	if r.State != Waiting {
		return r, nil
	}
	return r, []Effect{Requeue{Job: r.Job, QueuedAt: r.LastQueuedAt}}
}
