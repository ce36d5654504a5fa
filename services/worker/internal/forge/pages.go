package forge

import (
	"errors"
	"fmt"
)

const (
	// pageSize is the most that GitHub gives on a page.
	pageSize = 100
	// maxReadings bounds how often a list that changes while it is read is read again.
	maxReadings = 5
	// maxFiltered is where GitHub ends a list of workflow runs that is filtered by status (docs.github.com, list workflow
	// runs for a repository).
	maxFiltered = 1000
)

// errIncomplete says that GitHub does not show all of a list, though it answers.
var errIncomplete = errors.New("the list is not complete")

// page is what GitHub says on one page of a list.
type page[T any] struct {
	items []T
	// total is how many items all pages hold.
	total int
	// next is the number of the next page; 0 on the last one.
	next int
}

// readAll reads a list to its end, page by page from 1. GitHub numbers its pages anew for each call, so that an item can
// slip from a page yet to come to one that was read. Then the number of different items is not what GitHub says it is:
// the list is read again, and is an error if that does not help. A list of one page is always right. What is returned with an
// error is what the last reading saw: some of the items.
func readAll[T any](id func(T) int64, fetch func(number int) (page[T], error)) ([]T, error) {
	var items []T
	var total int
	for range maxReadings {
		items = nil
		seen := map[int64]bool{}
		stable := true
		for number := 1; number != 0; {
			p, err := fetch(number)
			stable = stable && (number == 1 || p.total == total)
			total = p.total
			for _, item := range p.items {
				if !seen[id(item)] {
					seen[id(item)] = true
					items = append(items, item)
				}
			}
			if err != nil {
				return items, err
			}
			number = p.next
		}
		if stable && len(items) == total {
			return items, nil
		}
	}
	return items, fmt.Errorf("%w: it changed while it was read, %d times in a row, %d of %d items seen", errIncomplete, maxReadings, len(items), total)
}
