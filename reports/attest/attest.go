// Package attest makes and checks the attestation of a gate report: an in-toto Statement with the
// test-result predicate, in a DSSE envelope when it is signed.
//
// Sources: in-toto Attestation Framework v1 (Statement), test-result predicate v0.1, DSSE v1.0.
package attest

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	testresult "github.com/in-toto/attestation/go/predicates/test_result/v0"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"touchstone/reports/internal/strict"
	"touchstone/reports/verdict"
)

// PredicateType names the predicate of the statement.
const PredicateType = "https://in-toto.io/attestation/test-result/v0.1"

// payloadType is the DSSE payload type of an in-toto statement.
const payloadType = "application/vnd.in-toto+json"

// outcomes are the predicate's words for a verdict.
var outcomes = map[verdict.Verdict]string{verdict.Pass: "PASSED", verdict.Incomplete: "WARNED", verdict.Fail: "FAILED"}

// Statement returns the in-toto statement about a result: the worker, the model and the native library are its subjects
// where their digests are known, else the report is; digests are the SHA-256 of the report's files, by
// name. Rows that did not run, are unproven or are waived are warned tests, and each is named with its state.
func Statement(result verdict.Result, digests map[string]string) (*intoto.Statement, error) {
	states := map[string]any{}
	predicate := &testresult.TestResult{Result: outcomes[result.Verdict]}
	for _, row := range result.Rows {
		states[row.ID] = string(row.State)
		switch {
		case row.State == verdict.Passed:
			predicate.PassedTests = append(predicate.PassedTests, row.ID)
		case row.Waived || row.State == verdict.NotRun || row.State == verdict.Unproven:
			predicate.WarnedTests = append(predicate.WarnedTests, row.ID)
		default:
			predicate.FailedTests = append(predicate.FailedTests, row.ID)
		}
	}
	claimed := []any{} // of the subject, without having been shown
	for _, name := range result.Subject.Claims() {
		claimed = append(claimed, name)
	}
	annotations, err := structpb.NewStruct(map[string]any{"gate": result.Gate, "verdict": result.Line, "states": states, "claimed": claimed})
	if err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(digests)) {
		descriptor := describe(name, digests[name])
		if name == reportName {
			descriptor.Annotations = annotations
		}
		predicate.Configuration = append(predicate.Configuration, descriptor)
	}
	return newStatement(subjects(result.Subject, digests), predicate)
}

const reportName = "report.json"

func newStatement(subjects []*intoto.ResourceDescriptor, predicate *testresult.TestResult) (*intoto.Statement, error) {
	encoded, err := protojson.Marshal(predicate)
	if err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	var inStatement structpb.Struct
	if err := protojson.Unmarshal(encoded, &inStatement); err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	statement := &intoto.Statement{Type: intoto.StatementTypeUri, Subject: subjects, PredicateType: PredicateType, Predicate: &inStatement}
	if err := statement.Validate(); err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	return statement, nil
}

func subjects(subject verdict.Subject, digests map[string]string) []*intoto.ResourceDescriptor {
	var found []*intoto.ResourceDescriptor
	if subject.WorkerSHA256 != "" {
		found = append(found, describe("worker "+subject.Worker, subject.WorkerSHA256))
	}
	if subject.ModelSHA256 != "" {
		found = append(found, describe("model "+subject.Model, subject.ModelSHA256))
	}
	if subject.NativeLibrarySHA256 != "" {
		found = append(found, describe("native library "+subject.NativeLibrary, subject.NativeLibrarySHA256))
	}
	if len(found) == 0 {
		found = append(found, describe(reportName, digests[reportName]))
	}
	return found
}

func describe(name, sha256 string) *intoto.ResourceDescriptor {
	return &intoto.ResourceDescriptor{Name: name, Digest: map[string]string{"sha256": sha256}}
}

// Encode returns attestation.json: the statement itself, or its DSSE envelope where a key is given.
func Encode(statement *intoto.Statement, key *Key) ([]byte, error) {
	payload, err := protojson.Marshal(statement)
	if err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	// protojson varies its white space on purpose; the same statement shall give the same bytes.
	var document any
	if err := json.Unmarshal(payload, &document); err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	if payload, err = json.Marshal(document); err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	document = json.RawMessage(payload)
	if key != nil {
		signer, err := dsse.NewEnvelopeSigner(key.verifier)
		if err != nil {
			return nil, fmt.Errorf("sign the attestation: %w", err)
		}
		if document, err = signer.SignPayload(context.Background(), payloadType, payload); err != nil {
			return nil, fmt.Errorf("sign the attestation: %w", err)
		}
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	return append(text, '\n'), nil
}

// Decode reads attestation.json and returns its statement and whether it is signed. With a key, it must be signed by it and
// nobody else; without a key it must not be signed: a signature that nobody checks looks like one that somebody did.
func Decode(data []byte, key *Key) (statement *intoto.Statement, signed bool, err error) {
	if err := strict.Check(data); err != nil {
		return nil, false, fmt.Errorf("not one JSON document: %w", err)
	}
	var envelope dsse.Envelope
	if err := json.Unmarshal(data, &envelope); err != nil {
		return nil, false, fmt.Errorf("not JSON: %w", err)
	}
	payload := data
	if signed = envelope.Payload != "" || len(envelope.Signatures) > 0; signed {
		if err := strict.Decode(data, &envelope); err != nil {
			return nil, true, fmt.Errorf("not a signed envelope: %w", err)
		}
		if len(envelope.Signatures) != 1 {
			return nil, true, fmt.Errorf("it has %d signatures, want one", len(envelope.Signatures))
		}
		if key == nil {
			return nil, true, errors.New("it is signed, but no key was given to check that: give --key")
		}
		if envelope.PayloadType != payloadType {
			return nil, true, fmt.Errorf("its payload is %q, want %q", envelope.PayloadType, payloadType)
		}
		if payload, err = envelope.DecodeB64Payload(); err != nil {
			return nil, true, fmt.Errorf("its payload is not base64: %w", err)
		}
		if err := strict.Check(payload); err != nil {
			return nil, true, fmt.Errorf("its payload is not one JSON document: %w", err)
		}
	}
	if key != nil {
		if !signed {
			return nil, false, errors.New("it is not signed, but a key was given")
		}
		verifier, err := dsse.NewEnvelopeVerifier(key.verifier)
		if err != nil {
			return nil, true, err
		}
		if _, err := verifier.Verify(context.Background(), &envelope); err != nil {
			return nil, true, fmt.Errorf("its signature is not by the given key: %w", err)
		}
	}
	statement = &intoto.Statement{}
	if err := protojson.Unmarshal(payload, statement); err != nil {
		return nil, signed, fmt.Errorf("not an in-toto statement: %w", err)
	}
	if err := statement.Validate(); err != nil {
		return nil, signed, fmt.Errorf("not a valid in-toto statement: %w", err)
	}
	return statement, signed, nil
}

// Key is an ed25519 key: private to sign, public to verify.
type Key struct {
	verifier *signerverifier.ED25519SignerVerifier
}

// PrivateKey reads a private ed25519 key in PEM (PKCS #8), as "openssl genpkey -algorithm ed25519" writes it.
func PrivateKey(pemText []byte) (*Key, error) {
	return loadKey(pemText, signerverifier.PrivateKeyPEM)
}

// PublicKey reads a public ed25519 key in PEM (PKIX), as "openssl pkey -pubout" writes it.
func PublicKey(pemText []byte) (*Key, error) {
	return loadKey(pemText, signerverifier.PublicKeyPEM)
}

func loadKey(pemText []byte, want string) (*Key, error) {
	block, _ := pem.Decode(pemText)
	if block == nil || block.Type != want {
		return nil, fmt.Errorf("want an ed25519 key in PEM with the head BEGIN %s", want)
	}
	loaded, err := signerverifier.LoadKey(pemText)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if loaded.KeyType != signerverifier.ED25519KeyType {
		return nil, fmt.Errorf("want an ed25519 key, got %s", loaded.KeyType)
	}
	verifier, err := signerverifier.NewED25519SignerVerifierFromSSLibKey(loaded)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	return &Key{verifier: verifier}, nil
}

// Digests returns the SHA-256 of each file the statement vouches for, by name.
func Digests(statement *intoto.Statement) (map[string]string, error) {
	encoded, err := protojson.Marshal(statement.GetPredicate())
	if err != nil {
		return nil, err
	}
	var predicate testresult.TestResult
	if err := protojson.Unmarshal(encoded, &predicate); err != nil {
		return nil, fmt.Errorf("not a test result: %w", err)
	}
	digests := map[string]string{}
	for _, descriptor := range predicate.GetConfiguration() {
		digests[descriptor.GetName()] = descriptor.GetDigest()["sha256"]
	}
	return digests, nil
}
