// Package deploy_test checks what no schema says about the manifests of this folder.
package deploy_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"go.yaml.in/yaml/v3"
)

func TestDeploy(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "soak deployment")
}

// manifest is what the parts of a deployment must agree on.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		CompletionMode string `yaml:"completionMode"`
		Completions    string
		Parallelism    string
		Template       struct {
			Spec struct {
				Containers []struct {
					Image   string
					Args    []string
					EnvFrom []struct {
						ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
					} `yaml:"envFrom"`
				}
				Volumes []struct {
					PersistentVolumeClaim struct {
						ClaimName string `yaml:"claimName"`
					} `yaml:"persistentVolumeClaim"`
				}
			}
		}
	}
}

func readManifests(path string) map[string]manifest {
	GinkgoHelper()
	text, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	byKind := map[string]manifest{}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var m manifest
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return byKind
		}
		Expect(err).NotTo(HaveOccurred())
		byKind[m.Kind] = m
	}
}

var _ = Describe("the manifests", func() {
	It("agree on the number of shards, the volume and the image", func() {
		soak := readManifests("job.yaml")
		job, settings := soak["Job"], soak["ConfigMap"]
		Expect(job.Spec.CompletionMode).To(Equal("Indexed"))
		Expect(job.Spec.Completions).To(Equal(settings.Data["SHARDS"]))
		Expect(job.Spec.Parallelism).To(Equal(settings.Data["SHARDS"]))
		shard := job.Spec.Template.Spec.Containers[0]
		Expect(shard.Args).To(ContainElement("--shard=$(JOB_COMPLETION_INDEX)/$(SHARDS)"))
		Expect(shard.EnvFrom[0].ConfigMapRef.Name).To(Equal(settings.Metadata.Name))
		for _, m := range []manifest{job, readManifests("merge.yaml")["Job"]} {
			Expect(m.Spec.Template.Spec.Volumes[0].PersistentVolumeClaim.ClaimName).To(Equal(soak["PersistentVolumeClaim"].Metadata.Name))
			Expect(m.Spec.Template.Spec.Containers[0].Image).To(Equal(shard.Image))
		}
	})
})
