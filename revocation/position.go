package revocation

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// MaxPositionBytes is the maximum length of a position. It is a part of a URL or the value of a header, for which
// proxies commonly allow 8 KiB.
const MaxPositionBytes = 4 << 10

// FormatPosition returns the position <origin>.<seq>[,<origin>.<seq>…] for the batch up to which everything of each
// origin is known, sorted by origin. If they do not all fit in [MaxPositionBytes], it leaves out the origins with the
// lowest sequence numbers. A broker answers for an origin that is left out with all of its batches, or with
// everything that is in force if its first batch was collected, so such a position costs only bytes.
func FormatPosition(seqs map[string]uint64) string {
	part := func(origin string) string { return origin + "." + strconv.FormatUint(seqs[origin], 10) }
	origins := slices.Sorted(maps.Keys(seqs))
	slices.SortStableFunc(origins, func(a, b string) int { return cmp.Compare(seqs[b], seqs[a]) })
	origins = fitting(origins, MaxPositionBytes+len(","), func(origin string) int { return len(part(origin)) + len(",") })
	slices.Sort(origins)
	var text strings.Builder
	for i, origin := range origins {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(part(origin))
	}
	return text.String()
}

// fitting returns the longest beginning of origins whose sizes are at most limit in total.
func fitting(origins []string, limit int, size func(origin string) int) []string {
	for i, origin := range origins {
		if limit -= size(origin); limit < 0 {
			return origins[:i]
		}
	}
	return origins
}
