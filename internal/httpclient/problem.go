package httpclient

import (
	"io"

	strictjson "github.com/go-jose/go-jose/v4/json"
)

// maxProblem is the maximum number of bytes of a refusal that are read.
const maxProblem = 4 << 10

// ProblemCode returns the code of a broker's refusal (RFC 9457) from the body of a response, or "" if the body has another
// form or is longer than 4 KiB.
func ProblemCode(body io.Reader) string {
	text, err := io.ReadAll(io.LimitReader(body, maxProblem+1))
	var problem struct {
		Code string `json:"code"`
	}
	if err != nil || len(text) > maxProblem || strictjson.Unmarshal(text, &problem) != nil {
		return ""
	}
	return problem.Code
}
