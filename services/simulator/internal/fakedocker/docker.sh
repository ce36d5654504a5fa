#!/bin/sh
# Stands for Docker's client. "docker run IMAGE COMMAND..." runs the command on the machine itself, whatever the image.
if ! kill -0 "$(cat "$HOME/.docker-engine" 2>/dev/null)" 2>/dev/null; then
	echo "Cannot connect to the Docker daemon" >&2
	exit 1
fi
case ${1:-} in
version) echo "Server: Docker Engine, simulated" ;;
run)
	shift
	while [ "${1#-}" != "${1:-}" ]; do shift; done
	shift
	exec "$@"
	;;
*)
	echo "docker ${1:-}: not simulated" >&2
	exit 1
	;;
esac
