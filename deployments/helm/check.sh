#!/usr/bin/env bash
# Lints the chart, has it refuse what it must, and renders it for each file in cases/: "update" keeps what comes out in renders/, without
# it that must be there already. HELM is the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
helm=${HELM:-helm}
chart=modal-github-runner
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# A Helm that was not built by its release says that it knows no newer Kubernetes than 1.20.
render() { "$helm" template release "$chart" --namespace ci --kube-version 1.37.0 "$@"; }

for file in cases/*.yaml; do
  "$helm" lint --strict --quiet --kube-version 1.37.0 --values "$file" "$chart"
  render --values "$file" >"$out/$(basename "$file")"
done
if [ "${1:-}" = update ]; then
  cp "$out"/*.yaml renders/
  find "$chart" cases renders -type f | LC_ALL=C sort | xargs sha256sum >SHA256SUMS
fi
diff -ru renders "$out" || { echo "helm: renders/ is stale: run make helm"; exit 1; }

failed=0
# refuse TEXT ARGUMENT...: rendering with the arguments must fail, and say TEXT.
refuse() {
  local text=$1
  shift
  if render --values cases/token.yaml "$@" >"$out/refused" 2>&1; then
    echo "helm: not refused: $*"
    failed=1
  elif ! grep -qF -- "$text" "$out/refused"; then
    echo "helm: $*: want \"$text\", got:"
    cat "$out/refused"
    failed=1
  fi
}
refuse "image.registry: is required" --set image.registry=
refuse "worker.image.tag: is required" --set worker.image.tag=
refuse "additional properties 'replica' not allowed" --set ingress.replica=3
refuse "/worker/env" --set worker.env.RUNER_SCOPE=org
refuse "/worker/env" --set worker.env.GITHUB_TOKEN=canary
refuse "/worker/env" --set worker.env.WORKER_SOFT_STOP=1m
refuse "/worker/env/RUNNER_GROUP_ID" --set worker.env.RUNNER_GROUP_ID=1
refuse "/worker/github/appId" --set worker.github.appId=123456
refuse "/worker/keda/minReplicas" --set worker.keda.minReplicas=0
refuse "/nats/url" --set nats.url=nats://user:canary@nats:4222
refuse "poolsConfigMap: must not be set together with pools" --set poolsConfigMap=mine --set pools.max_sandboxes=1
refuse "worker.keda.pools: must name the pools" --set poolsConfigMap=mine --set worker.keda.enabled=true
refuse "ingress.kubernetesIngress.host: is required" --set ingress.kubernetesIngress.enabled=true
refuse "ingress.httpRoute.parentRefs: must name a Gateway" --set ingress.httpRoute.enabled=true
exit $failed
