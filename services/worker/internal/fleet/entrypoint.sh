#!/bin/bash
# Runs one GitHub Actions runner for one job, and ends with it. The JIT configuration is in the environment only.
# ACTIONS_RUNNER_HOME is where the image keeps the runner; RUNNER_IDLE_SECONDS is how long it may wait for a job.
set -eu

dir=$(mktemp -d "${TMPDIR:-/tmp}/runner.XXXXXX")
# Hard links make the copy instant; where /tmp is another file system they can't be made.
cp -al "$ACTIONS_RUNNER_HOME/." "$dir" 2>/dev/null || cp -a "$ACTIONS_RUNNER_HOME/." "$dir"
cd "$dir"

# The runner itself calls this before a job's first step: the only sure sign that it has a job.
started=$dir/.job-started
hook=$dir/job-started.sh
printf '#!/bin/sh\n: >"%s"\n' "$started" >"$hook"
chmod 755 "$hook"

export ACTIONS_RUNNER_HOOK_JOB_STARTED="$hook" RUNNER_ALLOW_RUNASROOT=1 RUNNER_MANUALLY_TRAP_SIG=1
set -m # Without job control, a shell has background jobs ignore SIGINT, and the runner could not be asked to end.
./run.sh &
runner=$!
unset ACTIONS_RUNNER_INPUT_JITCONFIG
trap 'kill -INT "$runner" 2>/dev/null || true' INT TERM

(
	sleep "$RUNNER_IDLE_SECONDS"
	if [ ! -e "$started" ]; then
		echo "no job came within $RUNNER_IDLE_SECONDS s: ending the runner" >&2
		kill -INT "$runner" 2>/dev/null || true
	fi
) &
watchdog=$!
set +m

code=0
wait "$runner" || code=$?
# A wait that a signal interrupts returns before the runner has ended.
while kill -0 "$runner" 2>/dev/null; do
	code=0
	wait "$runner" || code=$?
done
kill -- "-$watchdog" 2>/dev/null || true
if [ ! -e "$started" ]; then
	echo "the runner ended with code $code and had no job" >&2
	[ "$code" -ne 0 ] || code=75 # EX_TEMPFAIL of sysexits.h: another runner may have more luck.
fi
exit "$code"
