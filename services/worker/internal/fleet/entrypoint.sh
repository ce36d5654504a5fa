#!/bin/bash
# Runs one GitHub Actions runner for one job, and ends with it. The JIT configuration is in the environment only.
# ACTIONS_RUNNER_HOME is where the image keeps the runner; RUNNER_IDLE_SECONDS is how long it may wait for a job.
set -eu

# What the runner's time belongs to is settled once, by whoever makes the file "claim" first: its job, or the wish to end it.
state=${TMPDIR:-/tmp}/runner-state
mkdir -p "$state"
cat >"$state/claim.sh" <<'SCRIPT'
#!/bin/sh
# claim.sh WHO: claims the runner, unless it is claimed, and says whose it is.
state=$(dirname "$0")
echo "$1" >"$state/claim.$$"
ln "$state/claim.$$" "$state/claim" 2>/dev/null # At once with its contents, or not at all.
rm -f "$state/claim.$$"
cat "$state/claim"
SCRIPT
# ask.sh answers "starting", "idle" or "busy"; ask.sh release ends a runner without a job, or one yet to be started, and answers
# "released".
cat >"$state/ask.sh" <<'SCRIPT'
#!/bin/sh
state=$(dirname "$0")
if [ "${1:-}" = release ]; then
	answer=$("$state/claim.sh" released)
	[ "$answer" != released ] || kill -INT "$(cat "$state/pid" 2>/dev/null)" 2>/dev/null
	echo "$answer"
elif [ -e "$state/claim" ]; then
	cat "$state/claim"
elif [ -e "$state/pid" ]; then
	echo idle
else
	echo starting
fi
SCRIPT
# The runner itself calls this before a job's first step: the only sure sign that it has a job. A job that comes after the
# runner was asked to end is not begun.
hook=$state/job-started.sh
printf '#!/bin/sh\n[ "$("%s" busy)" = busy ]\n' "$state/claim.sh" >"$hook"
chmod 755 "$state/claim.sh" "$state/ask.sh" "$hook"

dir=$(mktemp -d "${TMPDIR:-/tmp}/runner.XXXXXX")
# Hard links make the copy instant; where /tmp is another file system they can't be made.
cp -al "$ACTIONS_RUNNER_HOME/." "$dir" 2>/dev/null || cp -a "$ACTIONS_RUNNER_HOME/." "$dir"
cd "$dir"

# The runner says that it has a job some time before it calls the hook, so what it says counts too.
watch() {
	while IFS= read -r line; do
		case $line in *": Running job: "*) "$state/claim.sh" busy >/dev/null ;; esac
		printf '%s\n' "$line"
	done
}

export ACTIONS_RUNNER_HOOK_JOB_STARTED="$hook" RUNNER_ALLOW_RUNASROOT=1 RUNNER_MANUALLY_TRAP_SIG=1
ending=
trap 'ending=1' INT TERM
set -m # Without job control, a shell has background jobs ignore SIGINT, and the runner could not be asked to end.
./run.sh > >(watch) &
runner=$!
echo "$runner" >"$state/pid"
[ ! -e "$state/claim" ] || ending=1 # Asked to end before it was there. It can't have a job yet.
unset ACTIONS_RUNNER_INPUT_JITCONFIG

(
	sleep "$RUNNER_IDLE_SECONDS"
	if [ "$("$state/claim.sh" released)" = released ]; then
		echo "no job came within $RUNNER_IDLE_SECONDS s: ending the runner" >&2 # First: with the runner, this ends too.
		kill -INT "$runner" 2>/dev/null || true
	fi
) &
watchdog=$!
disown "$watchdog"
set +m

# Not by wait: a signal that comes just before it begins to wait would be acted on only after the runner has ended.
mkfifo "$state/never"
exec {never}<>"$state/never" # Nobody writes to it: reading is a sleep that needs no process.
while kill -0 "$runner" 2>/dev/null; do
	if [ -n "$ending" ]; then
		ending=
		kill -INT "$runner" 2>/dev/null || true
	fi
	read -r -t 0.5 -u "$never" || true
done
code=0
wait "$runner" || code=$?
# A weaker signal would get lost in a shell that has only just begun.
kill -KILL -- "-$watchdog" 2>/dev/null || true
if [ "$("$state/ask.sh")" != busy ]; then
	echo "the runner ended with code $code and had no job" >&2
	[ "$code" -ne 0 ] || code=75 # EX_TEMPFAIL of sysexits.h: another runner may have more luck.
fi
exit "$code"
