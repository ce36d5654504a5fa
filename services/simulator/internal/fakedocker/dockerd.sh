#!/bin/sh
# Stands for Docker's engine, which needs a machine that lets it.
if [ "${SIMULATOR_DOCKER:-}" != 1 ]; then
	echo "dockerd: operation not permitted" >&2
	exit 1
fi
echo $$ >"$HOME/.docker-engine"
exec sleep infinity
