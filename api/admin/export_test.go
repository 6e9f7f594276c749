package admin

import "slices"

// Routes returns the registered methods and paths, sorted.
func Routes(cfg Config) []string {
	var all []string
	for _, route := range (&handler{cfg: cfg}).routes() {
		for method := range route.methods {
			all = append(all, method+" "+route.pattern)
		}
	}
	slices.Sort(all)
	return all
}
