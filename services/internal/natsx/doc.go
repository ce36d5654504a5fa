// Package natsx connects a service to NATS and makes sure that the server has the streams, consumers and buckets that the
// service needs.
//
// What may never happen here: a connection that gives up, a message kept in memory while the server is away (the caller
// must learn at once that it was not sent), and a change to something that exists on the server, but for one that puts it on more of them.
package natsx
