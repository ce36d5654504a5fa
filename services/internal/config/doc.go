// Package config fills a typed configuration from environment variables.
//
// A target is a struct whose fields carry tags:
//
//	env       name of the variable; fields without it are skipped, structs without it are walked
//	default   value used when the variable is absent or empty
//	doc       one sentence for the table of the README
//	required  "true": absence is an error
//	min, max  inclusive bounds, written as the variable itself would be
//	schemes   comma list of the URL schemes accepted; every field of URLs has it
//	userinfo  "true": the URL may say who logs in; without it that is an error
//	form      "token": the secret is for a header of HTTP or gRPC, so it is printable ASCII without white space
//
// Field types: string, bool, int, int64, [time.Duration], [ByteSize], *url.URL, [slog.Level], any other
// [encoding.TextUnmarshaler], comma lists (slices) of those, [Secret] and *[SecretSource].
//
// Every error is reported at once, one line each, as `NAME: rule (got "value")`. The value of a secret never appears in
// an error, a log or a table, nor does what stands before the host of a URL, nor a refused value with an @ in it. An empty variable counts as absent.
//
// What may never happen here: a read of the process environment (the caller passes it), a default that depends on
// anything but the tags, and a name that belongs to one service only.
package config
