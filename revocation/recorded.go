package revocation

// Recorded is an event as the ledger keeps it, with the batch that holds it. Origin is empty
// for a compromised key of which the keyring tells.
type Recorded struct {
	Event
	// By is the operator who did it; empty where it was somebody else, of whom Reason tells.
	By     string `json:"by,omitempty"`
	Origin string `json:"origin,omitempty"`
	Seq    uint64 `json:"seq,omitempty"`
}
