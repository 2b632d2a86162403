package evidence

import (
	"encoding/json"
	"fmt"
)

// Redacted returns the entry with its texts replaced by their lengths and hashes: textual values, the
// bodies and events of transcripts, and files. Numbers, times, sizes and hashes stay.
func (entry Entry) Redacted() (Entry, error) {
	switch entry.Kind {
	case KindObservation:
		switch value := entry.Value.(type) {
		case nil, bool, json.Number:
		case string:
			entry.Value = redact(value)
		default:
			text, err := json.Marshal(value)
			if err != nil {
				return entry, err
			}
			entry.Value = redact(string(text))
		}
	case KindBlob:
		entry.File = newFile("text/plain", []byte(redact(string(entry.File.Content))))
	case KindTranscript:
		var exchange Exchange
		if err := json.Unmarshal(entry.File.Content, &exchange); err != nil {
			return entry, err
		}
		exchange.RequestBody, exchange.ResponseBody = redact(exchange.RequestBody), redact(exchange.ResponseBody)
		for i := range exchange.Events {
			exchange.Events[i].Data = redact(exchange.Events[i].Data)
		}
		content, err := json.MarshalIndent(exchange, "", "  ")
		if err != nil {
			return entry, err
		}
		entry.File = newFile(TranscriptMediaType, content)
	}
	return entry, nil
}

func redact(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("[redacted: %d bytes, sha256 %s]", len(text), Digest([]byte(text)))
}
