package config

import (
	"context"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

var (
	hostForm     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	hostPortForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d+)?$`)
)

// CheckHost returns an error for the variable name unless host is a host's name or IPv4 address, with or without a port from
// 1 to 65535 after a colon.
func CheckHost(name, host string) error {
	_, port, hasPort := strings.Cut(host, ":")
	switch {
	case !hostPortForm.MatchString(host):
		return Invalid(name, "must be a host name", host)
	case hasPort && !isPort(port):
		return Invalid(name, errURLPort.Error(), host)
	}
	return nil
}

// CheckListen returns an error for the variable name unless addr is an address to listen on: host:port, where host is empty
// (all addresses of the machine), an IP address or a name, and port is 0 (any that is free) to 65535 or the name of a TCP
// service that this machine knows.
func CheckListen(name, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return Invalid(name, "must be host:port or :port", addr)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !hostForm.MatchString(host) {
		return Invalid(name, "must have an IP address, a host's name or nothing before the port", addr)
	}
	if _, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port); err != nil {
		return Invalid(name, "must have a port from 0 to 65535, or a service's name, at its end", addr)
	}
	return nil
}

// ListenersClash reports whether one process can't listen on both addresses, each of which [CheckListen] accepts.
func ListenersClash(a, b string) bool {
	hostA, portA := splitListen(a)
	hostB, portB := splitListen(b)
	return portA == portB && portA != 0 && (hostA == hostB || everywhere(hostA) || everywhere(hostB))
}

func splitListen(addr string) (host string, port int) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0
	}
	port, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", service)
	if err != nil {
		return "", 0
	}
	return host, port
}

// everywhere: package net listens on all addresses of both families for each of "", 0.0.0.0 and ::.
func everywhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
