package node

// The limits of the listeners, for tests that wait them out.
const (
	ReadHeaderTimeout = readHeaderTimeout
	ReadTimeout       = readTimeout
	DrainTimeout      = drainTimeout
	MaxHeaderBytes    = maxHeaderBytes
)
