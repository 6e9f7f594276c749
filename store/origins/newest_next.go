//go:build tokenbroker_next

package origins

// newest of the program that stands for the next version in the tests of upgrades. No release is built with this tag.
const newest = 3
