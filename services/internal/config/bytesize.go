package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

var errByteSize = errors.New("must be a number of bytes such as 512, 64KiB or 1MiB")

// ByteSize is a count of bytes, never negative, written with the units B, KiB, MiB and GiB (powers of 1024).
type ByteSize int64

type byteUnit struct {
	suffix string
	bytes  int64
}

// byteUnits goes from large to small, so that the first suffix that fits is the unit.
func byteUnits() []byteUnit {
	return []byteUnit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// UnmarshalText parses whole numbers with an optional unit; anything else, and what overflows int64, is an error.
func (b *ByteSize) UnmarshalText(text []byte) error {
	number, factor := string(text), int64(1)
	for _, unit := range byteUnits() {
		if rest, ok := strings.CutSuffix(number, unit.suffix); ok {
			number, factor = rest, unit.bytes

			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return errByteSize
	}
	*b = ByteSize(n * factor)

	return nil
}

// String writes the size with the largest unit that divides it.
func (b ByteSize) String() string {
	for _, unit := range byteUnits() {
		if b != 0 && int64(b)%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(b)/unit.bytes, unit.suffix)
		}
	}

	return "0B"
}
