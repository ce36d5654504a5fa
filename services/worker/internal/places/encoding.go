package places

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
)

const (
	// plainUpTo is how long, in bytes, the record may be before it is compressed: one of a few hundred places can be read with the
	// nats CLI. Of a compressed one, 1 MB (max_payload of nats-server, unless it is told otherwise) holds some 40,000 places.
	plainUpTo = 64 << 10
	// maxRecord bounds what a compressed record may grow to, in bytes.
	maxRecord = 256 << 20
)

// encode is the record as it is stored: JSON, compressed by gzip if it is long.
func encode(r Record) ([]byte, error) {
	value, err := json.Marshal(r)
	if err != nil || len(value) <= plainUpTo {
		return value, err //nolint:wrapcheck // the caller says what it was
	}
	var short bytes.Buffer
	w, err := gzip.NewWriterLevel(&short, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if _, err := w.Write(value); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return short.Bytes(), nil
}

// decode reads what encode wrote.
func decode(value []byte) (r Record, err error) {
	if bytes.HasPrefix(value, []byte{0x1f, 0x8b}) { // RFC 1952. JSON begins with no such byte.
		unpacked, err := gzip.NewReader(bytes.NewReader(value))
		if err != nil {
			return Record{}, fmt.Errorf("decompress: %w", err)
		}
		if value, err = io.ReadAll(io.LimitReader(unpacked, maxRecord)); err != nil {
			return Record{}, fmt.Errorf("decompress: %w", err)
		}
	}
	err = json.Unmarshal(value, &r)
	return r, err //nolint:wrapcheck // the caller says what it was
}
