package touchstone

import _ "embed"

// Haiku is the small model that the repository brings along, a GGUF file: programs that need a model without being given one
// hold it. fixtures/README.md tells how it was made.
//
//go:embed fixtures/models/haiku.gguf
var Haiku []byte
