package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/operator"
)

// OperatorCommands are the commands that ask a running worker, for kong.
type OperatorCommands struct {
	Explain     explainCommand     `cmd:"" help:"Tell what became of a job, and why it waits."`
	Logs        logsCommand        `cmd:"" help:"Print the end of the log of a job's sandbox: what its runner said last."`
	Jobs        jobsCommand        `cmd:"" help:"List the jobs that are not over."`
	DeadLetters deadLettersCommand `cmd:"" help:"Show what was given up, and have it tried once more."`
	Places      placesCommand      `cmd:"" help:"Show who holds places for sandboxes, what today has cost, and how many wait."`
	Pause       pauseCommand       `cmd:"" help:"Launch nothing more, for all workers, until it is resumed."`
	Resume      resumeCommand      `cmd:"" help:"Launch what was paused."`
	Paused      pausedCommand      `cmd:"" help:"List what is paused."`
}

type (
	explainCommand struct {
		question

		Job operator.JobID `arg:"" help:"Id of the job, or the URL of its page at GitHub."`
	}
	logsCommand struct {
		question

		Job   operator.JobID `arg:""        help:"Id of the job, or the URL of its page at GitHub."`
		Lines int            `default:"100" help:"How many lines at most, 1 to 1000."`
	}
	jobsCommand struct {
		question

		State string `help:"Those in this state instead: held, waiting, running, done or dead."`
	}
	placesCommand struct{ question }
	pausedCommand struct{ question }
	pauseCommand  struct {
		question

		What string `arg:"" help:"A pool, OWNER/REPO, or OWNER/* for all of an account; nothing for all there is." optional:""`
	}
	resumeCommand struct {
		question

		What string `arg:"" help:"What was paused, in the same words." optional:""`
	}
	deadLettersCommand struct {
		List   listLettersCommand  `cmd:"" help:"List what was given up, newest first."`
		Show   showLetterCommand   `cmd:"" help:"Show one dead letter."`
		Replay replayLetterCommand `cmd:"" help:"Have the job of a dead letter tried once more. Twice is once."`
	}
	listLettersCommand struct{ question }
	showLetterCommand  struct {
		question

		ID operator.LetterID `arg:"" help:"Id of the dead letter, as listed, or the URL of its job's page at GitHub."`
	}
	replayLetterCommand struct {
		question

		Job operator.JobID `arg:"" help:"Id of the job, or the URL of its page at GitHub."`
	}
)

// question is what all of them take.
type question struct {
	Addr string `default:"127.0.0.1:9091" env:"WORKER_ADMIN_ADDR" help:"Admin address of the worker to ask."`
	JSON bool   `help:"Print the answer as JSON."                 name:"json"`
}

// Run implements the command.
func (c explainCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodGet, "/jobs/"+text(c.Job), operator.PrintExplanation)
}

// Run implements the command.
func (c logsCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodGet, "/jobs/"+text(c.Job)+"/log?lines="+strconv.Itoa(c.Lines), operator.PrintLog)
}

// Run implements the command.
func (c jobsCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodGet, "/jobs?state="+url.QueryEscape(c.State), operator.PrintJobs)
}

// Run implements the command.
func (c listLettersCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodGet, "/dead-letters", operator.PrintLetters)
}

// Run implements the command.
func (c showLetterCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodGet, "/dead-letters/"+url.PathEscape(string(c.ID)), operator.PrintLetter)
}

// Run implements the command.
func (c replayLetterCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodPost, "/dead-letters/"+text(c.Job)+"/replay", operator.PrintReplay)
}

// Run implements the command.
func (c placesCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodGet, "/places", operator.PrintRoom)
}

// Run implements the command.
func (c pausedCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodGet, "/paused", operator.PrintPaused)
}

// Run implements the command.
func (c pauseCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodPut, "/paused/"+operator.ScopePath(c.What), operator.PrintPaused)
}

// Run implements the command.
func (c resumeCommand) Run(out io.Writer) error {
	return answer(c.question, out, http.MethodDelete, "/paused/"+operator.ScopePath(c.What), operator.PrintPaused)
}

func text(job operator.JobID) string { return strconv.FormatInt(int64(job), 10) }

// answer asks the worker and writes what it says: for people with show, or as it came.
func answer[T adminapi.Explanation | adminapi.Jobs | adminapi.Letters | adminapi.Replay | adminapi.Room | adminapi.Paused | adminapi.Log |
	intake.Letter](
	q question, out io.Writer, method, path string, show func(io.Writer, T, time.Time) error,
) error {
	client, err := operator.NewClient(q.Addr)
	if err != nil {
		return err
	}
	said, err := client.Ask(context.Background(), method, path)
	if err != nil {
		return err
	}
	if q.JSON {
		_, err := out.Write(said)
		return err
	}
	var decoded T
	if err := json.Unmarshal(said, &decoded); err != nil {
		return fmt.Errorf("read the worker's answer: %w", err)
	}
	return show(out, decoded, time.Now())
}
