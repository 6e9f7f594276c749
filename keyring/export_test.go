package keyring

// Snapshot returns the snapshot in use, to compare and to print.
func (k *Keyring) Snapshot() any { return k.current.Load() }
