package dispatch

import "bytes"

// parseFailure decodes the payload of a failed frame.
func parseFailure(text []byte) *AppError {
	parts := bytes.SplitN(text, []byte{0}, 3)
	for len(parts) < 3 {
		parts = append(parts, nil)
	}
	return &AppError{Class: string(parts[0]), Message: string(parts[1]), Backtrace: string(parts[2])}
}
