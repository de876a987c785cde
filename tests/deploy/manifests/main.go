// Reads Kubernetes manifests from standard input and exits with 1 and a line for each field that does
// not exist, has the wrong type or is there twice, as Kubernetes' own types have them.
//
// Of the objects of KEDA and of the Prometheus Operator it knows the fields that the chart uses.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	reader "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

type target struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
}

type trigger struct {
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata"`
}

type scaledObject struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		ScaleTargetRef  target    `json:"scaleTargetRef"`
		MinReplicaCount int32     `json:"minReplicaCount"`
		MaxReplicaCount int32     `json:"maxReplicaCount"`
		PollingInterval int32     `json:"pollingInterval"`
		CooldownPeriod  int32     `json:"cooldownPeriod"`
		Triggers        []trigger `json:"triggers"`
	} `json:"spec"`
}

type podMonitor struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Selector            meta.LabelSelector `json:"selector"`
		PodMetricsEndpoints []struct {
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

var kinds = map[string]func() any{
	"v1/ConfigMap":                        func() any { return new(core.ConfigMap) },
	"v1/Service":                          func() any { return new(core.Service) },
	"v1/ServiceAccount":                   func() any { return new(core.ServiceAccount) },
	"apps/v1/Deployment":                  func() any { return new(apps.Deployment) },
	"apps/v1/StatefulSet":                 func() any { return new(apps.StatefulSet) },
	"policy/v1/PodDisruptionBudget":       func() any { return new(policy.PodDisruptionBudget) },
	"networking.k8s.io/v1/NetworkPolicy":  func() any { return new(networking.NetworkPolicy) },
	"keda.sh/v1alpha1/ScaledObject":       func() any { return new(scaledObject) },
	"monitoring.coreos.com/v1/PodMonitor": func() any { return new(podMonitor) },
}

func check(document []byte) error {
	var of struct {
		meta.TypeMeta `json:",inline"`
		Metadata      struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(document, &of); err != nil {
		return err
	}
	newObject, known := kinds[of.APIVersion+"/"+of.Kind]
	if !known {
		return fmt.Errorf("%s/%s is not a kind that the chart should make", of.APIVersion, of.Kind)
	}
	if err := yaml.UnmarshalStrict(document, newObject()); err != nil {
		return fmt.Errorf("%s %s: %w", of.Kind, of.Metadata.Name, err)
	}
	return nil
}

func main() {
	documents := reader.NewYAMLReader(bufio.NewReader(os.Stdin))
	count, failed := 0, false
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = check(document)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			failed = true
		}
		count++
	}
	fmt.Println(count)
	if failed {
		os.Exit(1)
	}
}
