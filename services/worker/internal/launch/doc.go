// Package launch carries out what package run decides: it loads a record, asks what becomes of it, saves it by
// compare-and-set, and only then acts on GitHub, Modal and the queue.
//
// The intent is on record before the act and the result after it, so that a worker may die between any two lines:
//
//   - before the intent is saved: the message comes again, nothing has happened;
//   - after the intent, before the registration: the next worker finds no registration and makes one;
//   - after the registration, before the sandbox: the next worker is told that the name exists at GitHub, finds no
//     sandbox of that name, and replaces the registration, since its JIT configuration can't be read twice;
//   - after the claim of a warm sandbox, before it was given: it says that it waits, and is given the new registration;
//   - after the sandbox, before the record: the name exists at GitHub, and a sandbox of that name runs: it is adopted;
//   - after the record, before the ack: the message comes again and there is nothing to do.
//
// No rule lives here, and no call to NATS, GitHub or Modal: those are the adapters behind the ports below.
package launch
