#!/usr/bin/env bash
# Serves 200 jobs through the compose stack while its parts are killed and restarted in turn, and 40 more while ingress and workers are
# replaced by another version and back, and looks at what Docker and Prometheus say of it. With CLUSTER=1 there are three NATS
# servers, each of which is killed in its turn. Needs Docker with Compose, and curl. The stack is one of its own and is taken down in the
# end, whatever happens.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# A variable of the shell counts before one of demo.env, and is meant for something else: GitHub's own runners have GITHUB_API_URL.
for name in $(grep -ho '\${[A-Z_]*' docker-compose.yml deployments/compose/*.yml | sort -u); do
  case $name in
    *_PORT | *_PROXY) ;; # Where this is to listen, and how it is to reach others.
    *) unset "${name#??}" ;;
  esac
done

jobs=${JOBS:-200}
ingresses=2
workers=3
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-modal-github-runner-test} DEMO_JOBS=$jobs
export WEBHOOK_PORT=${WEBHOOK_PORT:-18080} SIMULATOR_PORT=${SIMULATOR_PORT:-18083} PROMETHEUS_PORT=${PROMETHEUS_PORT:-19092}
prometheus=http://127.0.0.1:$PROMETHEUS_PORT

logs=$(mktemp -d)

brokers=(nats) files=(-f docker-compose.yml)
if [ -n "${CLUSTER:-}" ]; then brokers+=(nats-2 nats-3) files+=(-f deployments/compose/cluster.yml); fi

compose() { docker compose --progress quiet --env-file deployments/compose/demo.env "${files[@]}" "$@"; }
say() { printf 'compose-test: %s\n' "$*"; }
fail() { say "FAILED: $*"; exit 1; }

# evidence prints what the services complain of most, and why a job waits, for whom the logs are out of reach.
evidence() {
  local service job
  for service in simulator proxy ingress worker; do
    compose logs --no-color --no-log-prefix "$service" 2>&1 | grep -Ei '"level":"(warn|error)"|panic|fatal' | grep -o '"msg".*' |
      sed -E 's/"(service|version|instance|dur|time)":("[^"]*"|[0-9.]+),?//g' | cut -c1-200 | sort | uniq -c | sort -rn | head -4 | sed "s/^/$service:/"
  done
  df -h . | tail -1
  free -m | sed -n 2p
  compose exec -T worker /usr/bin/worker jobs | head -4
  job=$(compose exec -T worker /usr/bin/worker jobs --json | grep -o '"id":[0-9]*' | head -1 | cut -d: -f2)
  [ -z "$job" ] || compose exec -T worker /usr/bin/worker explain "$job" | cut -c1-160 | tail -12
}

finish() {
  local code=$?
  if [ "$code" != 0 ]; then
    compose ps --all --format 'table {{.Service}}\t{{.Status}}' || true
    compose logs --no-color >"$logs/stack.log" 2>&1 || true
    evidence || true
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

# healthy SERVICE: its container is.
healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1" 1)")" = healthy ]; }

# value QUERY WANT: Prometheus's answer is the one number WANT.
value() { curl -fsS --get --data-urlencode "query=$1" "$prometheus/api/v1/query" | grep -q "\"value\":\[[^,]*,\"$2\"\]"; }

# none QUERY: Prometheus's answer is empty.
none() { curl -fsS --get --data-urlencode "query=$1" "$prometheus/api/v1/query" | grep -q '"result":\[\]'; }

# serve N sends so many jobs, below the 180 runners a minute that GitHub allows, so that there is room for repairs: webhooks are lost
# while the only nats is away. served waits until all have ended well.
serve() {
  compose run --rm --no-TTY --no-deps jobs jobs --control=http://simulator:8083 --jobs="$1" --rate=2 --grace=4m >"$logs/jobs.log" 2>&1 &
  serving=$!
}
served() {
  if ! wait "$serving"; then
    tail -20 "$logs/jobs.log"
    fail "jobs were not served"
  fi
  tail -1 "$logs/jobs.log"
}

# roll SERVICE N: as many containers with the tag that *_VERSION says now start beside those N that run, which are stopped then.
roll() {
  local service=$1 n=$2 old
  old=$(compose ps --quiet "$service")
  compose up --detach --no-deps --no-recreate --wait --wait-timeout 60 --scale "$service=$((2 * n))" "$service" >/dev/null
  # shellcheck disable=SC2086 # a list of ids
  docker stop --time 60 $old >/dev/null && docker rm $old >/dev/null
  [ "$(compose ps --quiet "$service" | wc -l)" = "$n" ] || fail "$service: not $n containers after the change"
}

strike() { # WHAT COMMAND...
  say "$1"
  shift
  "$@" >/dev/null
}

say "checking the configuration with each profile"
compose --profile '*' config --quiet

say "building and starting: $ingresses × ingress, $workers × worker"
compose build
compose up --detach --wait --wait-timeout 180 --scale ingress=$ingresses --scale worker=$workers "${brokers[@]}" proxy ingress worker prometheus simulator >/dev/null

say "looking at the containers"
for service in "${brokers[@]}" proxy ingress worker prometheus simulator; do
  for id in $(compose ps --quiet "$service"); do
    got=$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}' "$id")
    [ "$got" = 'true [ALL] [no-new-privileges:true] false' ] || fail "$service: $got"
    user=$(docker inspect --format '{{.Config.User}}' "$id")
    case $user in '' | 0 | 0:* | root) fail "$service runs as root" ;; esac
  done
done
for service in "${brokers[@]}" ingress worker; do
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
serve "$jobs"
sleep 8
strike "killing a worker" docker kill "$(container worker 1)"
sleep 5
strike "restarting another" docker restart --time 60 "$(container worker 2)"
strike "starting the first again" docker start "$(container worker 1)"
strike "killing an ingress" docker kill "$(container ingress 1)"
sleep 5
strike "starting it again" docker start "$(container ingress 1)"
for broker in "${brokers[@]}"; do
  strike "killing $broker" docker kill "$(container "$broker" 1)"
  sleep 3
  strike "starting it again" docker start "$(container "$broker" 1)"
  sleep 5
  await 30 "$broker is not well again" healthy "$broker"
done
strike "killing the third worker" docker kill "$(container worker 3)"
strike "starting it again" docker start "$(container worker 3)"
served

await 60 "not all replicas are up again" value 'sum(up)' $((ingresses + workers))
await 300 "alerts are left firing" none 'ALERTS{alertstate="firing"}'
# The same programs under another tag, with another version in them.
say "replacing ingress, then the workers, by another version and back, while 40 jobs run"
INGRESS_VERSION=next WORKER_VERSION=next compose build ingress worker
serve 40
export INGRESS_VERSION=next
roll ingress $ingresses
say "new ingress, old workers"
export WORKER_VERSION=next
roll worker $workers
unset INGRESS_VERSION
roll ingress $ingresses
say "old ingress, new workers"
unset WORKER_VERSION
roll worker $workers
served

say "passed in $SECONDS s"
