#!/bin/sh
# Stands for ip, sysctl and iptables-legacy, with which the sandbox gives containers a network. They know of one device, and change
# nothing of the machine itself.
command=${0##*/}
case "$command $*" in
"ip -4 route show default") echo "default via 172.20.0.1 dev eth0 " ;;
"ip -4 -o address show dev eth0") echo "2: eth0    inet 172.20.0.9/16 scope global eth0" ;;
"sysctl -q -w "* | "iptables-legacy -t nat -A "*)
	if [ "${SIMULATOR_DOCKER:-}" != 1 ]; then
		echo "$command: operation not permitted" >&2
		exit 1
	fi
	;;
*)
	echo "$command $*: not simulated" >&2
	exit 1
	;;
esac
