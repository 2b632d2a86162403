package matchers

import (
	"encoding/json"
	"fmt"
)

// JSON is a value as a message shows it: the text that went over the wire, so that "1" is not 1; a long one is cut.
func JSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%#v", value)
	}
	const most = 60
	if len(text) > most {
		return fmt.Sprintf("%s... (%d bytes)", text[:most], len(text))
	}
	return string(text)
}
