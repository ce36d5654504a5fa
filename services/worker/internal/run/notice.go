package run

import "time"

const (
	// NoticeTime is how long one worker may take to tell the author of a job what became of it. What it sends to GitHub has
	// been answered, or has been given up there, well before: the next worker finds what it said.
	NoticeTime = 2 * time.Minute
	// maxNotices bounds how often that is tried. The pauses double up to 64 minutes: together the tries last seven hours, and so
	// longer than most outages.
	maxNotices = 12
	// maxDoublings keeps the pause within an hour or so.
	maxDoublings = 5
)

// Notice is how far the author of a job has been told, at GitHub, what became of it.
type Notice struct {
	// Said is the reason that the author was given for the job's having been given up. Empty if nothing was said, or if it was
	// taken back.
	Said string `json:"said,omitempty"`
	// Tries counts those to say something else since. While there are any, what GitHub shows is not known for sure.
	Tries int `json:"tries,omitempty"`
	// Until is when the next try may be made: a worker may be at the last one until then.
	Until time.Time `json:"until,omitzero"`
	// Moot says that a runner took the job although it was given up.
	Moot bool `json:"moot,omitempty"`
}

// Tell asks that the author of Job is told that it was given up, for Reason; or, without a Reason, that it was not after all,
// if that was said. It may be asked for again at Until.
type Tell struct {
	Job    Job
	Reason string
	Until  time.Time
}

func (Tell) effect() {}

// Inform is what the author of the job is to be told once ev has led to r, and the record with the intent to do so. Until its
// outcome is on record (Informed, Uninformable), what may have been said is said again, now and then: it is a courtesy that
// nothing waits for. The workflow run is left alone. Cancelling it would end the job for its author at once; but its other jobs
// may be fine, and no operator could replay this one any more.
func Inform(r Run, ev Event, now time.Time) (Run, []Effect) {
	switch ev := ev.(type) {
	case Started:
		r.Notice.Moot = r.Notice.Moot || r.State == Dead
	case Finished:
		r.Notice.Moot = r.Notice.Moot || r.State == Dead && !ev.Runner.IsZero()
	}
	reason := ""
	switch r.State {
	case Dead:
		if !r.Notice.Moot {
			reason = r.Reason
		}
	case Running, Done:
	case New, OnHold, Waiting: // Given up or not: the next state tells.
		return r, nil
	}
	known := r.Notice.Tries == 0
	switch {
	case known && reason == r.Notice.Said || r.Notice.Tries >= maxNotices:
		return r, nil
	case now.Before(r.Notice.Until):
		return r, []Effect{Later{At: r.Notice.Until}}
	}
	r.Notice.Until = now.Add(NoticeTime << min(r.Notice.Tries, maxDoublings))
	r.Notice.Tries++
	return r, []Effect{Tell{Job: r.Job, Reason: reason, Until: r.Notice.Until}}
}

// Informed is the record once the author has been told the reason.
func (r Run) Informed(reason string) Run {
	r.Notice.Said, r.Notice.Tries, r.Notice.Until = reason, 0, time.Time{}
	return r
}

// Uninformable is the record once GitHub has refused for good to tell the author anything.
func (r Run) Uninformable() Run {
	r.Notice.Tries = maxNotices
	return r
}
