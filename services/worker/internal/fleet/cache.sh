#!/bin/bash
# The command of jobs that keeps directories between the jobs of a repository, in $RUNNER_CACHE.
#
#   cache save KEY DIR     keeps DIR as the entry KEY, unless there is one
#   cache restore KEY DIR  unpacks the entry KEY, or else the newest whose key begins with KEY, into DIR; exits with 1 if there is none
#   cache begin DIR        unpacks what "cache end" kept of each directory in DIR
#   cache end DIR          keeps each directory in DIR that has changed, and what is over the bound goes
#
# RUNNER_CACHE_MIB bounds all that lies there, RUNNER_CACHE_READ_ONLY forbids to change it.
#
# Modal's Volumes know no locks: a sandbox sees what others had committed when it began, and of two who write one file, one wins. So an
# entry is one file, KEY@SHA256.tar.zst, named after its own contents. It is written under another name first and never changed, no two
# sandboxes write different contents to one name, and what is not whole is not what its name says and counts for nothing. Two who
# save one key at once make two entries, both good.
set -u -o pipefail

limit=$((${RUNNER_CACHE_MIB:-0} * 1024 * 1024))
scratch=
over=2 # The exit code for what is over the bound.

fail() {
	echo "cache: $1" >&2
	exit "${2:-2}"
}

# entries NAME are those with such a name, each with its age before it, the newest first.
entries() {
	find "$RUNNER_CACHE" -maxdepth 1 -type f -name "$1" -printf '%T@ %f\0' | sort -zrn
}

sum_of() {
	sha256sum <"$1" | cut -d ' ' -f 1
}

save() {
	local key=$1 dir=$2 size part failed
	[ -d "$dir" ] || fail "DIR: must be a directory (got $dir)"
	if [ -n "${RUNNER_CACHE_READ_ONLY:-}" ]; then
		echo "cache: $key is not kept: this job may only read"
		return
	fi
	[ -z "$(entries "$key@*.tar.zst" | tr -d '\0')" ] || return 0
	tar -c -C "$dir" . | zstd -q -T0 | head -c "$((limit + 1))" >"$scratch"
	failed=$?
	size=$(stat -c %s "$scratch")
	[ "$size" -le "$limit" ] || fail "$key is not kept: must have at most $limit bytes" "$over"
	[ "$failed" -eq 0 ] || fail "$key is not kept"
	part=$(mktemp "$RUNNER_CACHE/.part.XXXXXXXXXX") && cp "$scratch" "$part" &&
		mv -f "$part" "$RUNNER_CACHE/$key@$(sum_of "$scratch").tar.zst" || fail "$key is not kept"
	echo "cache: kept $key, $size bytes"
	sweep
	sync "$RUNNER_CACHE" || true # Commits at once. Modal does it when the sandbox ends, too.
}

# unpack DIR puts the whole of an entry into a directory that has nothing, or nothing: a tool may take a part for all.
unpack() {
	local dir=$1 part
	mkdir -p "$dir" || return
	if [ -n "$(ls -A "$dir")" ]; then
		zstd -q -dc "$scratch" | tar -x -C "$dir"
		return
	fi
	part=$(mktemp -d "$dir/.unpacked.XXXXXX") || return
	if zstd -q -dc "$scratch" | tar -x -C "$part"; then
		chmod --reference="$part" "$dir" && find "$part" -mindepth 1 -maxdepth 1 -exec mv -t "$dir" {} + && rmdir "$part"
	else
		rm -rf "$part"
		return 1
	fi
}

# The newest that is whole. One that is not hides no older one, nor does it stay where it may be taken away.
restore() {
	local key=$1 dir=$2 entry
	while IFS= read -r -d '' entry; do
		entry=${entry#* }
		# It is checked as a copy, which nobody takes away while it is unpacked.
		if ! cp "$RUNNER_CACHE/$entry" "$scratch"; then
			echo "cache: ${entry%@*} can't be read" >&2
		elif [ "${entry#*@}" != "$(sum_of "$scratch").tar.zst" ]; then
			[ -n "${RUNNER_CACHE_READ_ONLY:-}" ] || rm -f "$RUNNER_CACHE/$entry"
			echo "cache: ${entry%@*} is damaged, as if there were none" >&2
		else
			unpack "$dir" || fail "${entry%@*} can't be unpacked into $dir"
			[ -n "${RUNNER_CACHE_READ_ONLY:-}" ] || touch "$RUNNER_CACHE/.used.$entry" # Others go first.
			echo "cache: restored ${entry%@*}"
			return
		fi
	done < <(entries "$key@*.tar.zst" && entries "$key?*@*.tar.zst")
	fail "there is no $key" 1
}

# Takes away what was not used for longest, until the rest is within the bound, entries or not. When an entry was used last is the time of
# a file beside it, since its own is that of its beginning, by which the newest is found.
sweep() {
	local left=$limit size line name
	local -A seen=()
	find "$RUNNER_CACHE" -maxdepth 1 -name '.part.*' -mmin +1440 -delete # Whoever wrote it has died.
	find "$RUNNER_CACHE" -mindepth 1 -maxdepth 1 -printf '%T@ %f\0' | sort -zrn | while IFS= read -r -d '' line; do
		name=${line#* }
		[ "$name" = .used. ] || name=${name#.used.}
		[ -z "${seen["is $name"]:-}" ] || continue
		seen["is $name"]=1
		size=$(du -scb -- "$RUNNER_CACHE/$name" "$RUNNER_CACHE/.used.$name" 2>/dev/null | tail -n 1 | cut -f 1)
		left=$((left - ${size:-0}))
		[ "$left" -ge 0 ] && [ -e "$RUNNER_CACHE/$name" -o -L "$RUNNER_CACHE/$name" ] ||
			rm -rf -- "${RUNNER_CACHE:?}/$name" "${RUNNER_CACHE:?}/.used.$name"
	done
}

# One for each in a shell of its own: where one fails, others go on.
begin() {
	local dir
	for dir in "$1"/*/; do
		dir=${dir%/}
		(restore "tool-${dir##*/}-" "$dir" 2>/dev/null) || true
	done
}

end() {
	local dir state
	for dir in "$1"/*/; do
		dir=${dir%/}
		rm -rf "$dir"/.unpacked.* # Of an entry that there was no time for.
		[ -n "$(find "$dir" -type f -print -quit)" ] || continue
		state=$(find "$dir" -type f -printf '%P %s\n' | LC_ALL=C sort | sum_of /dev/stdin)
		(over=3 && save "tool-${dir##*/}-${state:0:16}" "$dir")
		if [ "$?" -eq 3 ]; then # What was kept of it before would stay for good, and each job add to it in vain.
			find "$RUNNER_CACHE" -maxdepth 1 -type f -name "tool-${dir##*/}-????????????????@*.tar.zst" -delete
			echo "cache: what ${dir##*/} keeps has outgrown the bound: ${dir##*/} begins anew"
		fi
	done
	[ -n "${RUNNER_CACHE_READ_ONLY:-}" ] || sweep
}

case "${1:-} $#" in
"save 3" | "restore 3")
	case $2 in
	*[!A-Za-z0-9._-]* | .* | "") fail "KEY: must be of letters, digits and . _ -, and not begin with . (got $2)" ;;
	esac
	[ "${#2}" -le 150 ] || fail "KEY: must have at most 150 characters (got ${#2})"
	;;
"begin 2" | "end 2") ;;
*) fail "usage: cache save KEY DIR, cache restore KEY DIR" ;;
esac
[ -d "${RUNNER_CACHE:-}" ] || fail "RUNNER_CACHE: must be a directory (got ${RUNNER_CACHE:-})"
scratch=$(mktemp "${TMPDIR:-/tmp}/cache.XXXXXX") || fail "no room for a copy"
trap 'rm -f "$scratch"' EXIT
"$@"
