#!/bin/bash
# Runs one GitHub Actions runner for one job, and ends with it. The JIT configuration is in the environment only.
# ACTIONS_RUNNER_HOME is where the image keeps the runner; RUNNER_IDLE_SECONDS is how long it may wait for a job.
# RUNNER_DOCKER is the sandbox's runtime, vm or gvisor, if its jobs are to have Docker; RUNNER_DOCKER_SECONDS is how long that may start.
# RUNNER_WARM_SECONDS is set if the sandbox is to wait so long, from its start, for a runner that is given to it: then the JIT configuration
# comes by give.sh, and RUNNER_TIMEOUT_SECONDS is how long the runner and its job have from then on.
# RUNNER_TRUSTED is set if no job of a fork may run in the sandbox, and is private if none of a public repository may, either. RUNNER_CACHE is where the repository's cache is, if it has one; $1 is the command "cache" for it.
set -eu
export -n ACTIONS_RUNNER_INPUT_JITCONFIG

# What the runner's time belongs to is settled once, by whoever makes the file "claim" first: its job, or the wish to end it.
state=${TMPDIR:-/tmp}/runner-state
mkdir -p "$state"
cat >"$state/claim.sh" <<'SCRIPT'
#!/bin/sh
# claim.sh WHO: claims the runner, unless it is claimed, and says whose it is; claim.sh WHO given: so with a sandbox that waits for one.
# That the state's path is found without a process matters where a job uses all memory: an empty one would say that nobody has claimed it.
state=${0%/*}
claim=$state/${2:-claim}
echo "$1" >"$claim.$$" && ln "$claim.$$" "$claim" 2>/dev/null # At once with its contents, or not at all.
rm -f "$claim.$$"
cat "$claim"
SCRIPT
# ask.sh answers "warm" while the sandbox waits for a runner, "starting", "idle" or "busy"; ask.sh release ends a runner without a job, or
# one yet to be started or given, and answers "released".
cat >"$state/ask.sh" <<'SCRIPT'
#!/bin/sh
state=${0%/*}
if [ "${1:-}" = release ]; then
	[ ! -e "$state/give.sh" ] || "$state/claim.sh" released given >/dev/null
	answer=$("$state/claim.sh" released)
	[ "$answer" != released ] || kill -INT "$(cat "$state/pid" 2>/dev/null)" 2>/dev/null
	echo "$answer"
elif [ -e "$state/claim" ]; then
	cat "$state/claim"
elif [ -e "$state/pid" ]; then
	echo idle
elif [ -e "$state/warm" ] && [ ! -e "$state/given" ]; then
	echo warm
else
	echo starting
fi
SCRIPT
if [ -n "${RUNNER_WARM_SECONDS:-}" ]; then
	cat >"$state/give.sh" <<'SCRIPT'
#!/bin/sh
# give.sh RUNNER REGISTRATION: has the sandbox run the runner, whose JIT configuration is in the environment, unless it has one. It answers
# "given" if that is the one, now or since before, and "taken" if it is another, or the sandbox waits for none any more.
state=${0%/*}
jit=$ACTIONS_RUNNER_INPUT_JITCONFIG
unset ACTIONS_RUNNER_INPUT_JITCONFIG # It is for none of the commands.
umask 077
if [ ! -e "$state/given" ]; then # What comes too late is not even written where a job could read it.
	printf '%s\n' "$jit" >"$state/jit.$$" && "$state/claim.sh" "$1 $2 jit.$$" given >/dev/null
fi
read -r runner registration file <"$state/given" || runner='' file=''
[ "$file" = "jit.$$" ] || rm -f "$state/jit.$$"
case "$runner $registration" in
" "*) exit 1 ;; # Nobody knows whose it is.
"$1 $2") echo given ;;
*) echo taken ;;
esac
SCRIPT
	chmod 755 "$state/give.sh"
fi
# The runner itself calls this before a job's first step: the only sure sign that it has a job. A job that comes after the
# runner was asked to end is not begun.
hook=$state/job-started.sh
printf '#!/bin/sh\n[ "$("%s" busy)" = busy ] || exit\n' "$state/claim.sh" >"$hook"
chmod 755 "$state/claim.sh" "$state/ask.sh" "$hook"
# GitHub gives a job to any runner that has its labels, a fork's too. Before its first step the runner is told what the job is of, and
# in a sandbox that is for others all of it ends there: to fail the step would not do, as others may run after one that failed.
if [ -n "${RUNNER_TRUSTED:-}" ]; then
	cat >"$state/origin.js" <<'SCRIPT'
let event = {};
try {
	event = JSON.parse(require("fs").readFileSync(process.env.GITHUB_EVENT_PATH, "utf8"));
} catch {}
// The code of pull_request_target is the repository's own.
const request = process.env.GITHUB_EVENT_NAME !== "pull_request_target" && event.pull_request;
if (request && (!request.head.repo || request.head.repo.id !== event.repository.id)) process.exit(3);
process.exit(process.argv[2] && !event.repository?.private ? 4 : 0); // An internal one is private, too.
SCRIPT
	only=
	[ "$RUNNER_TRUSTED" != private ] || only=private
	# Nothing of it may depend on a variable that a workflow sets.
	printf '#!/bin/sh\nhome="%s" only=%s\n' "$ACTIONS_RUNNER_HOME" "$only" >"$state/origin.sh"
	cat >>"$state/origin.sh" <<'SCRIPT'
state=${0%/*}
end() {
	echo "$1, and its pool does not allow untrusted jobs: it ends before the first step" >&2
	until read -r pid <"$state/pid"; do :; done
	kill -KILL "-$pid"
}
[ -s "${GITHUB_EVENT_PATH:-}" ] || [ -n "$only" ] || exit 0
for node in "$home"/externals/node*/bin/node; do # The runner's own, of which several may be there.
	[ -x "$node" ] || continue
	code=0
	/usr/bin/env -i GITHUB_EVENT_PATH="${GITHUB_EVENT_PATH:-}" GITHUB_EVENT_NAME="${GITHUB_EVENT_NAME:-}" "$node" "$state/origin.js" $only || code=$?
	case $code in
	0) exit 0 ;;
	3) end "a job of a fork was given this runner" ;;
	4) end "a job of a public repository was given this runner" ;;
	esac
done
# None runs where the image is too old for them. Then nobody knows whose a pull request is, nor whether a repository is public.
[ -z "$only" ] || end "Node.js of the runner does not run in this image, so that nobody can tell whether this job's repository is public"
case ${GITHUB_EVENT_NAME:-} in
pull_request | pull_request_review | pull_request_review_comment)
	end "Node.js of the runner does not run in this image, so that nobody can tell whether this job of a pull request is a fork's"
	;;
esac
exit 0
SCRIPT
	chmod 755 "$state/origin.sh"
	printf '"%s"\n' "$state/origin.sh" >>"$hook"
fi

# Commands of ours for jobs, before those of the image.
bin=$state/bin
mkdir -p "$bin"
export PATH="$bin:$PATH"

# absent COMMAND ADVICE makes a command that says how to come to have it.
absent() {
	printf '#!/bin/sh\necho "%s: not in this sandbox. %s" >&2\nexit 127\n' "$1" "$2" >"$bin/$1"
	chmod 755 "$bin/$1"
}

# In gVisor, dockerd can neither set up its network nor stack its layers by itself: so says gvisor.dev/docs/tutorials/docker-in-gvisor.
docker_in_gvisor() {
	local device address protocol
	read -r _ _ _ _ device _ < <(ip -4 route show default) &&
		read -r _ _ _ address _ < <(ip -4 -o address show dev "$device") &&
		sysctl -q -w net.ipv4.ip_forward=1 || return
	for protocol in tcp udp; do
		iptables-legacy -t nat -A POSTROUTING -o "$device" -p "$protocol" -j SNAT --to-source "${address%/*}" || return
	done
}

# Without Docker there is no use in the runner: another sandbox may have more luck.
no_docker() {
	echo "docker: $1: $(tail -n 1 "$state/dockerd.log")" >&2
	exit 69 # EX_UNAVAILABLE of sysexits.h
}

# Returns once Docker answers.
start_docker() {
	local options=() limit=${RUNNER_DOCKER_SECONDS:-30}
	if [ "$RUNNER_DOCKER" = gvisor ]; then
		docker_in_gvisor >>"$state/dockerd.log" 2>&1 || no_docker "containers can't have a network"
		options=(--iptables=false --ip6tables=false --storage-driver=vfs)
	fi
	set -m # In a group of its own, which ends with this.
	dockerd "${options[@]}" >>"$state/dockerd.log" 2>&1 &
	dockerd=$!
	set +m
	trap 'kill -KILL -- "-$dockerd" 2>/dev/null || true' EXIT # Nothing of it is kept.
	until timeout 5 docker version >/dev/null 2>&1; do
		if ! kill -0 "$dockerd" 2>/dev/null || [ "$SECONDS" -ge "$limit" ]; then
			no_docker "dockerd did not answer within $limit s"
		fi
		sleep 0.2
	done
}

if [ -n "${RUNNER_DOCKER:-}" ]; then
	start_docker
else
	absent docker "Ask for it by the label docker in runs-on, which the job's pool must allow (max: {docker: true}), or use a pool that has docker: true"
fi

# The caches of tools are directories of this sandbox alone: several tools rely on locks, which a Volume does not have. They are filled
# before a job's first step and kept after its last one.
if [ -n "${RUNNER_CACHE:-}" ]; then
	printf '%s' "$1" >"$bin/cache"
	tools=${TMPDIR:-/tmp}/tool-caches
	mkdir -p "$tools/"{hosted,npm,pip,go-mod,go-build}
	export RUNNER_TOOL_CACHE="${RUNNER_TOOL_CACHE:-$tools/hosted}" npm_config_cache="${npm_config_cache:-$tools/npm}"
	export AGENT_TOOLSDIRECTORY="${AGENT_TOOLSDIRECTORY:-$RUNNER_TOOL_CACHE}" PIP_CACHE_DIR="${PIP_CACHE_DIR:-$tools/pip}"
	export GOMODCACHE="${GOMODCACHE:-$tools/go-mod}" GOCACHE="${GOCACHE:-$tools/go-build}"
	export ACTIONS_RUNNER_HOOK_JOB_COMPLETED=$state/job-completed.sh
	# Neither may fail a job, nor take much of its time.
	printf 'timeout 300 "%s" begin "%s" || true\n' "$bin/cache" "$tools" >>"$hook"
	printf '#!/bin/sh\ntimeout 300 "%s" end "%s" || true\n' "$bin/cache" "$tools" >"$ACTIONS_RUNNER_HOOK_JOB_COMPLETED"
	chmod 755 "$bin/cache" "$ACTIONS_RUNNER_HOOK_JOB_COMPLETED"
else
	absent cache "The job's pool must have one, and runners be those of one repository (RUNNER_SCOPE=repo)"
fi

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
mkfifo "$state/never" # Nobody writes to it: reading is a sleep that needs no process.

# docker_ended says whether the sandbox had Docker, and has it no more.
docker_ended() {
	[ -n "${dockerd:-}" ] && ! kill -0 "$dockerd" 2>/dev/null
}

# await_runner returns once the sandbox was given a runner, and ends it if it will be given none.
await_runner() {
	local file
	touch "$state/warm"
	while [ ! -e "$state/given" ]; do
		if [ -n "$ending" ] || [ "$SECONDS" -ge "$RUNNER_WARM_SECONDS" ] || docker_ended; then
			"$state/claim.sh" ended given >/dev/null || true # First: whoever comes now is told so.
		fi
		read -r -t 0.1 <>"$state/never" || true
	done
	read -r _ _ file <"$state/given"
	if [ -z "$file" ]; then
		! docker_ended || no_docker "dockerd has ended"
		echo "no runner was given to this sandbox within $SECONDS s: it ends" >&2
		exit 0
	fi
	ACTIONS_RUNNER_INPUT_JITCONFIG=$(<"$state/$file")
	rm -f "$state"/jit.* # Before there is a job that could read it.
	limit=$((SECONDS + RUNNER_TIMEOUT_SECONDS))
}

limit=
[ -z "${RUNNER_WARM_SECONDS:-}" ] || await_runner
set -m # Without job control, a shell has background jobs ignore SIGINT, and the runner could not be asked to end.
ACTIONS_RUNNER_INPUT_JITCONFIG="$ACTIONS_RUNNER_INPUT_JITCONFIG" ./run.sh > >(watch) &
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
exec {never}<>"$state/never"
while kill -0 "$runner" 2>/dev/null; do
	if [ -n "$ending" ]; then
		ending=
		kill -INT "$runner" 2>/dev/null || true
	fi
	if [ -n "$limit" ] && [ "$SECONDS" -ge "$limit" ]; then
		limit=
		over=124 # As timeout(1) has it: overCode of outcome.go.
		echo "the time of $RUNNER_TIMEOUT_SECONDS s that the runner and its job have is over: the sandbox ends" >&2
		kill -KILL -- "-$runner" 2>/dev/null || true # Modal gives no notice of a timeout, either.
	fi
	read -r -t 0.5 -u "$never" || true
done
code=0
wait "$runner" || code=$?
code=${over:-$code}
# A weaker signal would get lost in a shell that has only just begun.
kill -KILL -- "-$watchdog" 2>/dev/null || true
if [ "$("$state/ask.sh")" != busy ]; then
	echo "the runner ended with code $code and had no job" >&2
	[ "$code" -ne 0 ] || code=75 # EX_TEMPFAIL of sysexits.h: another runner may have more luck.
fi
exit "$code"
