package attest_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"touchstone/reports"
	"touchstone/reports/attest"
	"touchstone/reports/internal/samples"
	"touchstone/reports/verdict"
)

var digests = map[string]string{"report.json": strings.Repeat("a", 64), "ginkgo.json": strings.Repeat("b", 64)}

func sample(t *testing.T) verdict.Result {
	t.Helper()
	report, err := reports.New([]byte(samples.Registry), samples.Ginkgo(), samples.Options())
	if err != nil {
		t.Fatal(err)
	}
	return report.Result
}

func statement(t *testing.T, result verdict.Result) *intoto.Statement {
	t.Helper()
	statement, err := attest.Statement(result, digests)
	if err != nil {
		t.Fatal(err)
	}
	return statement
}

func keys(t *testing.T) (private, public *attest.Key) {
	t.Helper()
	publicKey, privateKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if private, err = attest.PrivateKey(encodePrivate(t, privateKey)); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(publicKey)
	if err != nil {
		t.Fatal(err)
	}
	if public, err = attest.PublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})); err != nil {
		t.Fatal(err)
	}
	return private, public
}

func encodePrivate(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TestStatementIsInToto reads attestation.json with the in-toto library alone.
func TestStatementIsInToto(t *testing.T) {
	text, err := attest.Encode(statement(t, sample(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var read intoto.Statement
	if err := protojson.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if err := read.Validate(); err != nil {
		t.Fatal(err)
	}
	if read.GetType() != "https://in-toto.io/Statement/v1" || read.GetPredicateType() != "https://in-toto.io/attestation/test-result/v0.1" {
		t.Errorf("type %q, predicate type %q", read.GetType(), read.GetPredicateType())
	}
	if got := read.GetSubject()[0].GetDigest()["sha256"]; got != sample(t).Subject.WorkerSHA256 {
		t.Errorf("the first subject has the digest %s, want the worker's", got)
	}
}

func TestEveryRowIsNamedWithItsState(t *testing.T) {
	result := sample(t)
	predicate := statement(t, result).GetPredicate().AsMap()
	if predicate["result"] != "FAILED" {
		t.Errorf("result is %v, want FAILED", predicate["result"])
	}
	for list, want := range map[string][]string{"passedTests": {"HTTP-01"}, "warnedTests": {"CUDA-01", "KRN-01", "KRN-02"}, "failedTests": {"HTTP-02", "INT-01"}} {
		var got []string
		for _, id := range predicate[list].([]any) {
			got = append(got, id.(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is %v, want %v", list, got, want)
		}
	}
	text, err := json.Marshal(predicate["configuration"])
	if err != nil || !strings.Contains(string(text), `"CUDA-01":"NOT RUN"`) {
		t.Errorf("the state of the row that did not run is not explicit: %s (%v)", text, err)
	}
}

func TestIncompleteIsAWarning(t *testing.T) {
	result := sample(t)
	result.Verdict = verdict.Incomplete
	if got := statement(t, result).GetPredicate().AsMap()["result"]; got != "WARNED" {
		t.Errorf("result is %v, want WARNED", got)
	}
}

func TestWithoutDigestsTheReportIsTheSubject(t *testing.T) {
	result := sample(t)
	result.Subject.WorkerSHA256, result.Subject.ModelSHA256 = "", ""
	subjects := statement(t, result).GetSubject()
	if len(subjects) != 1 || subjects[0].GetName() != "report.json" || subjects[0].GetDigest()["sha256"] != digests["report.json"] {
		t.Errorf("subjects are %v", subjects)
	}
}

func TestTheNativeLibraryIsASubjectAndClaimsAreNamed(t *testing.T) {
	result := sample(t)
	result.Subject.NativeLibrary, result.Subject.NativeLibrarySHA256 = "/opt/libworker.so", strings.Repeat("c", 64)
	made := statement(t, result)
	subjects := made.GetSubject()
	if last := subjects[len(subjects)-1]; last.GetName() != "native library /opt/libworker.so" || last.GetDigest()["sha256"] != strings.Repeat("c", 64) {
		t.Errorf("the last subject is %v", last)
	}
	text, err := json.Marshal(made.GetPredicate().AsMap()["configuration"])
	if err != nil || !strings.Contains(string(text), `"claimed":["version","device","model"]`) {
		t.Errorf("what is only claimed is not named: %s (%v)", text, err)
	}
}

func TestABadDigestIsAnError(t *testing.T) {
	result := sample(t)
	result.Subject.WorkerSHA256 = "not a digest"
	if _, err := attest.Statement(result, digests); err == nil {
		t.Error("a worker digest that is none was accepted")
	}
}

func TestSignature(t *testing.T) {
	private, public := keys(t)
	_, stranger := keys(t)
	text, err := attest.Encode(statement(t, sample(t)), private)
	if err != nil {
		t.Fatal(err)
	}
	if _, signed, err := attest.Decode(text, public); err != nil || !signed {
		t.Errorf("the right key gives signed %v, %v", signed, err)
	}
	if _, _, err := attest.Decode(text, stranger); err == nil {
		t.Error("another key was accepted")
	}
	var envelope map[string]any
	if err := json.Unmarshal(text, &envelope); err != nil {
		t.Fatal(err)
	}
	payload := []byte(envelope["payload"].(string))
	payload[40] ^= 1
	envelope["payload"] = string(payload)
	if text, err = json.Marshal(envelope); err != nil {
		t.Fatal(err)
	}
	if _, _, err := attest.Decode(text, public); err == nil {
		t.Error("a changed payload was accepted")
	}
}

func TestKeysOfOtherKindsAreRefused(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"ECDSA": encodePrivate(t, other), "no PEM": []byte("key"),
		"broken": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})} {
		if _, err := attest.PrivateKey(text); err == nil {
			t.Errorf("%s was accepted as a private key", name)
		}
	}
	if _, err := attest.PublicKey(encodePrivate(t, other)); err == nil {
		t.Error("a private key was accepted as a public one")
	}
}
