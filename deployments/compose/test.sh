#!/usr/bin/env bash
# Serves 200 jobs through the compose stack while its parts are killed and restarted in turn, and looks at what Docker and Prometheus
# say of it. Needs Docker with Compose, and curl. The stack is one of its own and is taken down in the end, whatever happens.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

jobs=${JOBS:-200}
ingresses=2
workers=3
export COMPOSE_PROJECT_NAME=modal-github-runner-test DEMO_JOBS=$jobs
export WEBHOOK_PORT=${WEBHOOK_PORT:-18080} SIMULATOR_PORT=${SIMULATOR_PORT:-18083} PROMETHEUS_PORT=${PROMETHEUS_PORT:-19092}
prometheus=http://127.0.0.1:$PROMETHEUS_PORT

logs=$(mktemp -d)

compose() { docker compose --progress quiet --env-file deployments/compose/demo.env "$@"; }
say() { printf 'compose-test: %s\n' "$*"; }
fail() { say "FAILED: $*"; exit 1; }

finish() {
  local code=$?
  if [ "$code" != 0 ]; then
    compose ps --all --format 'table {{.Service}}\t{{.Status}}' || true
    compose logs --no-color >"$logs/stack.log" 2>&1 || true
    say "logs are in $logs"
  else
    rm -rf "$logs"
  fi
  compose down --volumes --timeout 15 >/dev/null 2>&1 || say "could not take everything down"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# container SERVICE N is the N-th container of a service.
container() { printf '%s-%s-%s' "$COMPOSE_PROJECT_NAME" "$1" "$2"; }

# await SECONDS WHAT COMMAND... tries the command each second until it succeeds.
await() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$what"
    sleep 1
  done
}

# value QUERY WANT: Prometheus's answer is the one number WANT.
value() { curl -fsS --get --data-urlencode "query=$1" "$prometheus/api/v1/query" | grep -q "\"value\":\[[^,]*,\"$2\"\]"; }

# none QUERY: Prometheus's answer is empty.
none() { curl -fsS --get --data-urlencode "query=$1" "$prometheus/api/v1/query" | grep -q '"result":\[\]'; }

strike() { # WHAT COMMAND...
  say "$1"
  shift
  "$@" >/dev/null
}

say "building and starting: $ingresses × ingress, $workers × worker"
compose build
compose up --detach --wait --wait-timeout 180 --scale ingress=$ingresses --scale worker=$workers nats proxy ingress worker prometheus simulator >/dev/null

say "looking at the containers"
for service in nats proxy ingress worker prometheus simulator; do
  for id in $(compose ps --quiet "$service"); do
    got=$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}' "$id")
    [ "$got" = 'true [ALL] [no-new-privileges:true] false' ] || fail "$service: $got"
    user=$(docker inspect --format '{{.Config.User}}' "$id")
    case $user in '' | 0 | 0:* | root) fail "$service runs as root" ;; esac
  done
done
for service in nats ingress worker; do
  for id in $(compose ps --quiet "$service"); do
    [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" = healthy ] || fail "$service is not healthy"
  done
done
for service in ingress worker; do
  size=$(docker image inspect --format '{{.Size}}' "modal-github-runner/$service:local")
  say "image $service: $((size / 1000000)) MB"
  [ "$size" -lt 40000000 ] || fail "the image of $service must be below 40 MB (got $size bytes)"
done
await 60 "Prometheus does not see all replicas" value 'sum(up)' $((ingresses + workers))

say "serving $jobs jobs"
# Below the 180 runners a minute that GitHub allows, so that there is room for repairs: webhooks are lost while nats is away.
compose run --rm --no-TTY --no-deps jobs jobs --control=http://simulator:8083 --jobs="$jobs" --rate=2 --grace=4m >"$logs/jobs.log" 2>&1 &
serving=$!
sleep 8
strike "killing a worker" docker kill "$(container worker 1)"
sleep 5
strike "restarting another" docker restart --time 60 "$(container worker 2)"
strike "starting the first again" docker start "$(container worker 1)"
strike "killing an ingress" docker kill "$(container ingress 1)"
sleep 5
strike "starting it again" docker start "$(container ingress 1)"
strike "killing nats" docker kill "$(container nats 1)"
sleep 3
strike "starting it again" docker start "$(container nats 1)"
sleep 5
strike "killing the third worker" docker kill "$(container worker 3)"
strike "starting it again" docker start "$(container worker 3)"
if ! wait "$serving"; then
  tail -20 "$logs/jobs.log"
  fail "jobs were not served"
fi
tail -1 "$logs/jobs.log"

await 60 "not all replicas are up again" value 'sum(up)' $((ingresses + workers))
await 300 "alerts are left firing" none 'ALERTS{alertstate="firing"}'
say "passed in $SECONDS s"
