package check

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tokenbroker/config"
)

// drainSeconds is the longest time in which a broker drains: 7 s, and 10 s while its store does not answer.
const drainSeconds = 10

// typed returns the object of that kind and name as its type.
func typed[T runtime.Object](t *testing.T, all []object, kind, name string) (o T) {
	t.Helper()
	decoded, err := decode(named(t, all, kind, name))
	if err != nil {
		t.Fatal(err)
	}
	o, ok := decoded.(T)
	if !ok {
		t.Fatalf("%s %s is a %T", kind, name, decoded)
	}
	return o
}

// pods returns the pod templates of the objects by name.
func pods(t *testing.T, all []object) map[string]corev1.PodTemplateSpec {
	t.Helper()
	templates := map[string]corev1.PodTemplateSpec{"tokenbroker": typed[*appsv1.StatefulSet](t, all, "StatefulSet", "tokenbroker").Spec.Template}
	for _, o := range all {
		if o["kind"] == "Job" {
			job := typed[*batchv1.Job](t, all, "Job", "tokenbroker-store-init")
			templates[job.Name] = job.Spec.Template
		}
	}
	return templates
}

// each runs a check for the objects of each overlay, with which those of the chart are equal.
func each(t *testing.T, check func(t *testing.T, overlay string, all []object)) {
	for _, v := range variants {
		t.Run(v.overlay, func(t *testing.T) { check(t, v.overlay, kustomized(t, v.overlay)) })
	}
}

func TestPodsAreRestricted(t *testing.T) {
	each(t, func(t *testing.T, _ string, all []object) {
		for name, template := range pods(t, all) {
			spec, c := template.Spec, template.Spec.Containers[0]
			if pod := spec.SecurityContext; !*pod.RunAsNonRoot || *pod.RunAsUser != 65532 || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: security context %+v", name, pod)
			}
			if s := c.SecurityContext; *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || *s.Privileged || len(s.Capabilities.Add) > 0 || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: security context of the container %+v", name, s)
			}
			if *spec.AutomountServiceAccountToken || spec.HostNetwork || spec.HostPID || spec.HostIPC || len(spec.Containers) != 1 || len(spec.InitContainers) > 0 {
				t.Errorf("%s has a token, a namespace of the host or other containers", name)
			}
			if *spec.EnableServiceLinks {
				t.Errorf("%s: the broker refuses the variables TOKENBROKER_SERVICE_HOST and so on", name)
			}
			if !regexp.MustCompile(`^tokenbroker:v\d+\.\d+\.\d+$`).MatchString(c.Image) {
				t.Errorf("%s: image %s", name, c.Image)
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: resources %+v", name, c.Resources)
			}
		}
		if account := typed[*corev1.ServiceAccount](t, all, "ServiceAccount", "tokenbroker"); *account.AutomountServiceAccountToken {
			t.Error("the service account has a token")
		}
		for _, o := range all {
			if strings.Contains(fmt.Sprint(o["kind"]), "Role") || o["kind"] == "Secret" {
				t.Errorf("%s: want no rights, and no secret in the repository", o)
			}
		}
	})
}

func TestSecretsAreFiles(t *testing.T) {
	each(t, func(t *testing.T, _ string, all []object) {
		for name, template := range pods(t, all) {
			c := template.Spec.Containers[0]
			if len(c.EnvFrom) > 0 {
				t.Errorf("%s: envFrom %+v", name, c.EnvFrom)
			}
			for _, e := range c.Env {
				if e.ValueFrom != nil || strings.Contains(e.Name, "PASSWORD") && !strings.HasSuffix(e.Name, "_FILE") {
					t.Errorf("%s: the variable %s", name, e.Name)
				}
			}
			for _, v := range template.Spec.Volumes {
				if v.Secret == nil {
					continue
				}
				if *v.Secret.DefaultMode != 0o440 {
					t.Errorf("%s: the files of %s are %o", name, v.Secret.SecretName, *v.Secret.DefaultMode)
				}
				if v.Secret.SecretName == "tokenbroker-owner" && name == "tokenbroker" {
					t.Error("the brokers get the password of the schema's owner")
				}
			}
			for _, m := range c.VolumeMounts {
				if m.Name != "data" && !m.ReadOnly {
					t.Errorf("%s: %s is mounted for writing", name, m.Name)
				}
			}
		}
	})
}

func TestBrokersStartAndStopCleanly(t *testing.T) {
	each(t, func(t *testing.T, _ string, all []object) {
		set := typed[*appsv1.StatefulSet](t, all, "StatefulSet", "tokenbroker")
		spec := set.Spec.Template.Spec
		c := spec.Containers[0]
		for path, probe := range map[string]*corev1.Probe{"/readyz": c.ReadinessProbe, "/livez": c.LivenessProbe} {
			if probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "http" {
				t.Errorf("the probe of %s is %+v", path, probe.HTTPGet)
			}
		}
		if c.StartupProbe.HTTPGet.Path != "/livez" || c.StartupProbe.PeriodSeconds*c.StartupProbe.FailureThreshold < 60 {
			t.Errorf("startup probe %+v", c.StartupProbe)
		}
		// A broker that was stopped for a while recovers by itself; it must not be killed for it.
		if c.LivenessProbe.PeriodSeconds*c.LivenessProbe.FailureThreshold < 60 {
			t.Errorf("liveness probe %+v", c.LivenessProbe)
		}
		if sleep := c.Lifecycle.PreStop.Sleep.Seconds; sleep < 5 || *spec.TerminationGracePeriodSeconds < sleep+drainSeconds+5 {
			t.Errorf("%d s before the drain, %d s in all", sleep, *spec.TerminationGracePeriodSeconds)
		}
		if set.Spec.UpdateStrategy.RollingUpdate != nil || set.Spec.MinReadySeconds == 0 {
			t.Error("more than one broker is replaced at a time, or the next one at once")
		}
		service := typed[*corev1.Service](t, all, "Service", "tokenbroker")
		headless := typed[*corev1.Service](t, all, "Service", set.Spec.ServiceName)
		for key, value := range service.Spec.Selector {
			if set.Spec.Template.Labels[key] != value || headless.Spec.Selector[key] != value || set.Spec.Selector.MatchLabels[key] != value {
				t.Errorf("the label %s=%s does not select the brokers", key, value)
			}
		}
		if headless.Spec.ClusterIP != corev1.ClusterIPNone || service.Spec.ClusterIP != "" || service.Spec.Type != "" {
			t.Error("the services have wrong types")
		}
		if len(service.Spec.Ports) != 1 || service.Spec.Ports[0].TargetPort.StrVal != "http" {
			t.Errorf("the service has the ports %+v", service.Spec.Ports)
		}
	})
}

func TestBrokersAreSpread(t *testing.T) {
	each(t, func(t *testing.T, overlay string, all []object) {
		set := typed[*appsv1.StatefulSet](t, all, "StatefulSet", "tokenbroker")
		if overlay == "single" {
			if claims := set.Spec.VolumeClaimTemplates; *set.Spec.Replicas != 1 || len(claims) != 1 || claims[0].Spec.AccessModes[0] != corev1.ReadWriteOncePod {
				t.Errorf("%d replicas, claims %+v", *set.Spec.Replicas, claims)
			}
			return
		}
		if *set.Spec.Replicas != 3 || len(set.Spec.VolumeClaimTemplates) != 0 || set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
			t.Errorf("%d replicas, claims %+v", *set.Spec.Replicas, set.Spec.VolumeClaimTemplates)
		}
		budget := typed[*policyv1.PodDisruptionBudget](t, all, "PodDisruptionBudget", "tokenbroker")
		if budget.Spec.MinAvailable.IntVal != 2 || fmt.Sprint(budget.Spec.Selector) != fmt.Sprint(set.Spec.Selector) {
			t.Errorf("budget %+v", budget.Spec)
		}
		spec := set.Spec.Template.Spec
		if terms := spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution; terms[0].TopologyKey != corev1.LabelHostname || fmt.Sprint(terms[0].LabelSelector) != fmt.Sprint(set.Spec.Selector) {
			t.Errorf("anti-affinity %+v", terms)
		}
		if spread := spec.TopologySpreadConstraints; spread[0].TopologyKey != corev1.LabelTopologyZone || spread[0].MaxSkew != 1 {
			t.Errorf("spread %+v", spread)
		}
	})
}

func TestNetworkPolicy(t *testing.T) {
	engine := map[string]int32{"cluster": 2379, "cluster-postgres": 5432}
	each(t, func(t *testing.T, overlay string, all []object) {
		policy := typed[*networkingv1.NetworkPolicy](t, all, "NetworkPolicy", "tokenbroker").Spec
		if len(policy.PolicyTypes) != 2 || len(policy.PodSelector.MatchLabels) == 0 {
			t.Errorf("policy %+v", policy)
		}
		for _, rule := range policy.Ingress {
			if len(rule.From) == 0 || len(rule.Ports) != 1 {
				t.Errorf("ingress from anywhere, or to all ports: %+v", rule)
			}
		}
		var open []int32
		for _, rule := range policy.Egress {
			if len(rule.Ports) == 0 {
				t.Errorf("egress to all ports: %+v", rule)
			}
			for _, port := range rule.Ports {
				open = append(open, port.Port.IntVal)
			}
		}
		for _, port := range []int32{engine[overlay], 4222} {
			if overlay != "single" && !slices.Contains(open, port) {
				t.Errorf("no egress to port %d", port)
			}
		}
	})
}

// Brokers, and the job for the schema, accept the configuration of the ConfigMap as their containers see it.
func TestConfigurationIsAccepted(t *testing.T) {
	secrets := secretFiles(t)
	document, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/run/secrets", secrets, "/run/owner", secrets)
	each(t, func(t *testing.T, overlay string, all []object) {
		file := filepath.Join(t.TempDir(), "tokenbroker.yaml")
		text := here.Replace(typed[*corev1.ConfigMap](t, all, "ConfigMap", "").Data["tokenbroker.yaml"])
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, key := range regexp.MustCompile(regexp.QuoteMeta(secrets)+`/(\w+)`).FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(document), "`"+key[1]+"`") {
				t.Errorf("docs/kubernetes.md does not list the key %s of the Secret", key[1])
			}
		}
		for name, template := range pods(t, all) {
			var environ []string
			if overlay != "single" {
				environ = append(environ, "TOKENBROKER_STORE_BROKER_NAME=tokenbroker-0") // the host name
			}
			for _, e := range template.Spec.Containers[0].Env {
				environ = append(environ, e.Name+"="+here.Replace(e.Value))
			}
			loaded, err := config.Load(config.Options{File: file, Environ: environ})
			if err != nil {
				t.Fatal(err)
			}
			if want := map[string]string{"single": "badger", "cluster": "etcd", "cluster-postgres": "postgres"}[overlay]; loaded.Config.Store.Engine != want {
				t.Errorf("engine %s, want %s", loaded.Config.Store.Engine, want)
			}
			if owner := strings.HasPrefix(loaded.Config.Store.Postgres.URL, "postgres://tokenbroker_owner@"); owner != (name != "tokenbroker") {
				t.Errorf("%s connects to %s", name, loaded.Config.Store.Postgres.URL)
			}
			set := typed[*appsv1.StatefulSet](t, all, "StatefulSet", "tokenbroker")
			for i := range int(*set.Spec.Replicas) {
				if name := fmt.Sprintf("%s-%d.%s", set.Name, i, set.Spec.ServiceName); !slices.Contains(loaded.Config.Admin.Hosts, name) {
					t.Errorf("admin.hosts lacks %s, at which Prometheus reads its metrics", name)
				}
			}
		}
	})
}
