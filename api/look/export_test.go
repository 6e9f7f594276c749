package look

// DefaultTexts returns the texts of the pages.
func DefaultTexts() map[string]string { return defaultTexts }
