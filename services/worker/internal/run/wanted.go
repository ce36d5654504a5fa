package run

import "time"

// wanted sees to it that the runner lives and counts for the job, or says that it does not. Whether the job still wants it
// is asked each time: the wish may be old.
func wanted(r Runner, ev Wanted, now time.Time) (Runner, []Effect) {
	confirm := Confirm{Job: ev.Job.ID, Runner: ev.Name}
	if r.alive() && r.For == 0 { // Released, or a count for the job was cut short.
		r.For, r.SpareSince = ev.Job.ID, time.Time{}
	}
	if r.alive() && r.For != ev.Job.ID {
		return r, []Effect{r.lostBy(ev.Job.ID, r.For)}
	}
	switch r.State {
	case Unknown:
		r = Runner{
			Name: ev.Name, State: Launching, Job: ev.Job, Scope: ev.Scope, For: ev.Job.ID, Until: now.Add(LaunchTimeout),
			Price: ev.Price,
		}
		begun := r
		begun.Unasked = true
		return r, []Effect{confirm, Create{Runner: begun}}
	case Launching:
		if now.Before(r.Until) {
			return r, []Effect{confirm, Later{At: r.Until}}
		}
		r.Until = now.Add(LaunchTimeout)
		begun := r
		r.Unasked = false // Whoever begins may die and not say.
		return r, []Effect{confirm, Create{Runner: begun}}
	case Launched:
		if look := r.LaunchedAt.Add(LookAfter); now.Before(look) {
			return r, []Effect{confirm, Later{At: look}}
		}
		return r, []Effect{confirm, Inspect{Runner: r}}
	case Busy:
		if r.Took == ev.Job.ID {
			return r, nil
		}
	case Ended:
		if r.Took == 0 && r.Job.ID != 0 { // Whoever is ending it may not have come to that yet.
			return r, []Effect{End{Runner: r}, r.lostBy(ev.Job.ID, r.For)}
		}
	}
	return r, []Effect{r.lostBy(ev.Job.ID, r.For)}
}

// found records a runner that the ledger has forgotten, as a spare one.
func found(r Runner, ev Found, now time.Time) (Runner, []Effect) {
	if r.State == Unknown {
		r = Runner{
			Name: ev.Name, State: Launched, Job: ev.Job, Scope: ev.Scope, SpareSince: now, SandboxID: ev.SandboxID, LaunchedAt: ev.CreatedAt,
			Price: ev.Price,
		}
	}
	return r, spare(r, now)
}

func created(r Runner, ev Created, now time.Time) (Runner, []Effect) {
	r.Unasked = false // Whatever the record said, which may be a backup's.
	switch r.State {
	case Launching, Busy: // A runner can take a job before we have recorded its sandbox.
	case Launched:
		return r, spare(r, now) // Twice.
	case Ended:
		if r.SandboxID != "" && r.SandboxID != ev.SandboxID { // That the job is over is known of the other one.
			r.JobOver = false
		}
		r.SandboxID, r.Warm = ev.SandboxID, ev.Warm
		if !ev.At.IsZero() {
			r.LaunchedAt = ev.At
		}
		return r, []Effect{End{Runner: r}}
	case Unknown:
	}
	r.SandboxID, r.Warm, r.LaunchedAt, r.Reason = ev.SandboxID, ev.Warm, now, ""
	if !ev.At.IsZero() {
		r.LaunchedAt = ev.At
	}
	if ev.GitHubID != 0 {
		r.GitHubID = ev.GitHubID
	}
	if r.State == Launching {
		r.State, r.Until = Launched, time.Time{}
	}
	return r, spare(r, now)
}
