package evidence

// TranscriptMediaType is the media type of the files that hold an Exchange as JSON.
const TranscriptMediaType = "application/vnd.touchstone.transcript+json"

// Exchange is one HTTP exchange with the subject. Times are milliseconds since the request was sent.
type Exchange struct {
	Method         string              `json:"method"`
	URL            string              `json:"url"`
	RequestHeader  map[string][]string `json:"requestHeader,omitempty"`
	RequestBody    string              `json:"requestBody,omitempty"`
	Status         int                 `json:"status"` // 0 when no response came
	ResponseHeader map[string][]string `json:"responseHeader,omitempty"`
	ResponseBody   string              `json:"responseBody,omitempty"` // what came outside of events
	Events         []Event             `json:"events,omitempty"`
	Error          string              `json:"error,omitempty"` // why the exchange ended early, if it did
	ElapsedMS      float64             `json:"elapsedMs"`
}

// Event is one server-sent event and the time of its arrival.
type Event struct {
	AtMS  float64 `json:"atMs"` // milliseconds since the request was sent
	ID    string  `json:"id,omitempty"`
	Event string  `json:"event,omitempty"` // the event type: "token", "end", ...
	Data  string  `json:"data"`
}

// TranscriptSummary is the part of an Exchange that stays in the report itself.
type TranscriptSummary struct {
	Method    string  `json:"method"`
	URL       string  `json:"url"`
	Status    int     `json:"status"`
	Events    int     `json:"events"`
	ElapsedMS float64 `json:"elapsedMs"`
}

func (e Exchange) summary() *TranscriptSummary {
	return &TranscriptSummary{Method: e.Method, URL: e.URL, Status: e.Status, Events: len(e.Events), ElapsedMS: e.ElapsedMS}
}
