package session

import (
	"encoding/base64"
	"encoding/json"
	"strconv"

	"tokenbroker/internal/plainjson"
)

// appendSession appends what json.Marshal makes of s.
func appendSession(b []byte, s *Session) ([]byte, error) {
	b = strconv.AppendInt(append(b, `{"v":`...), int64(s.V), 10)
	b = appendText(b, `,"uid":`, s.UID)
	b = appendText(b, `,"sid":`, s.SID)
	b = appendText(b, `,"channel":`, string(s.Channel))
	b = appendText(b, `,"client_id":`, s.ClientID)
	b = appendOptional(b, `,"scope":`, s.Scope)
	b = appendNumber(b, `,"gen":`, int64(s.Generation))
	if len(s.RotationsMS) > 0 {
		b = append(b, `,"rot_ms":[`...)
		for _, ms := range s.RotationsMS {
			b = append(strconv.AppendInt(b, ms, 10), ',')
		}
		b[len(b)-1] = ']'
	}
	b = appendBytes(b, `,"secret_hash":`, s.SecretHash)
	b = appendNumber(b, `,"sep":`, s.SEP)
	b = appendNumber(b, `,"cep":`, s.CEP)
	b = appendNumber(b, `,"auth_time":`, s.AuthTime)
	b = appendOptional(b, `,"acr":`, s.ACR)
	if len(s.AMR) > 0 {
		b = plainjson.AppendStrings(append(b, `,"amr":`...), s.AMR)
	}
	b = appendOptional(b, `,"device":`, s.Device)
	b = appendOptional(b, `,"provider":`, s.Provider)
	b = appendOptional(b, `,"upstream_sid":`, s.UpstreamSID)
	b = appendOptional(b, `,"upstream_iss":`, s.UpstreamIssuer)
	b = appendOptional(b, `,"upstream_sub":`, s.UpstreamSubject)
	b = appendNumber(b, `,"created_at":`, s.CreatedAt)
	b = appendNumber(b, `,"last_used":`, s.LastUsed)
	b = appendNumber(b, `,"token_exp":`, s.TokenExp)
	if s.SIDExpires != 0 {
		b = appendNumber(b, `,"sid_expires":`, s.SIDExpires)
	}
	if len(s.Source) > 0 {
		b = appendBytes(b, `,"source":`, s.Source)
	}
	if s.Ended != nil {
		ended, err := json.Marshal(s.Ended)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"ended":`...), ended...)
	}
	return append(b, '}'), nil
}

func appendNumber(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}

func appendBytes(b []byte, name string, data []byte) []byte {
	b = append(b, name...)
	if data == nil {
		return append(b, "null"...)
	}
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), data), '"')
}

func appendOptional(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return appendText(b, name, text)
}

func appendText(b []byte, name, text string) []byte {
	return plainjson.AppendString(append(b, name...), text)
}
