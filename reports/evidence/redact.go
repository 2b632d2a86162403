package evidence

import (
	"encoding/json"
	"fmt"

	"touchstone/reports/harmless"
	"touchstone/reports/secret"
)

// hide returns the entry without the secrets: in its texts, and in its file.
func (entry Entry) hide(secrets []string) (Entry, error) {
	if len(secrets) == 0 {
		return entry, nil
	}
	change := func(text string) string { return secret.Values(text, secrets) }
	content, kind := entry.File, entry.Kind
	entry.File = nil
	harmless.Each(&entry, change)
	switch {
	case content == nil:
	case kind == KindTranscript:
		var exchange Exchange
		if err := json.Unmarshal(content.Content, &exchange); err != nil {
			return entry, err
		}
		harmless.Each(&exchange, change)
		text, err := json.MarshalIndent(exchange, "", "  ")
		if err != nil {
			return entry, err
		}
		entry.File, entry.Transcript = newFile(content.MediaType, text), exchange.summary()
	default:
		entry.File = newFile(content.MediaType, []byte(change(string(content.Content))))
	}
	return entry, nil
}

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
