"""The checks notice: each test breaks one thing in a good build and expects to be told.

WAYPOST_CHECK_BUILD is the build; the rest of the environment is that of manifests.py.
"""

import copy
import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import manifests  # noqa: E402


class Broken(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.build = manifests.read(os.environ["WAYPOST_CHECK_BUILD"])

    def setUp(self):
        self.items = copy.deepcopy(self.build)

    def get(self, kind, item_name):
        (found,) = [i for i in self.items if i["kind"] == kind and i["metadata"]["name"].startswith(item_name)]
        return found

    @property
    def edge(self):
        return self.get("StatefulSet", "waypost-edge")

    @property
    def pod(self):
        return self.edge["spec"]["template"]["spec"]

    @property
    def box(self):
        return self.pod["containers"][0]

    @property
    def config(self):
        return self.get("ConfigMap", "waypost-config")["data"]

    def expect(self, *texts):
        found = manifests.problems(self.items)
        for text in texts:
            self.assertTrue(any(text in problem for problem in found), f"{text!r} is not in {found}")

    def test_the_build_is_good(self):
        self.assertEqual(manifests.problems(self.items), [])

    def test_a_key_that_kubernetes_does_not_know(self):
        self.box["readinesProbe"] = self.box.pop("readinessProbe")
        self.expect("StatefulSet/waypost-edge: Kubernetes 1.30: $.spec.template.spec.containers[0]", "readinesProbe")

    def test_a_value_of_another_type(self):
        self.edge["spec"]["minReadySeconds"] = "ten"
        self.expect("$.spec.minReadySeconds: 'ten' is not of type 'integer'")

    def test_a_kind_that_kubernetes_does_not_know(self):
        self.get("PodDisruptionBudget", "waypost-edge")["apiVersion"] = "policy/v1beta1"
        self.expect("Couldn't find schema for kind PodDisruptionBudget")

    def test_a_key_that_the_prometheus_operator_does_not_know(self):
        self.get("ServiceMonitor", "waypost")["spec"]["endpoints"][0]["pathh"] = "/metrics"
        self.expect("ServiceMonitor/waypost: $.spec.endpoints[0]", "pathh")

    def test_a_container_that_may_write_to_its_root(self):
        self.box["securityContext"]["readOnlyRootFilesystem"] = False
        self.expect("readOnlyRootFilesystem is False")

    def test_a_container_that_goes_before_and_may_write_to_its_root(self):
        pod = self.get("CronJob", "waypost-rates")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        pod["initContainers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
        self.expect("CronJob/waypost-rates: readOnlyRootFilesystem is False")

    def test_a_container_without_a_limit_of_memory(self):
        del self.box["resources"]["limits"]
        self.expect("no limits of memory")

    def test_a_service_that_selects_nobody(self):
        self.get("Service", "waypost-api")["spec"]["selector"]["app.kubernetes.io/component"] = "ap"
        self.expect("Service/waypost-api: selects no pods", "does not scrape Deployment/waypost-api")

    def test_a_service_with_a_port_that_the_pods_do_not_have(self):
        self.get("Service", "waypost-api")["spec"]["ports"][0]["targetPort"] = "web"
        self.expect("Deployment/waypost-api has no port web")

    def test_replicas_beside_an_autoscaler(self):
        self.edge["spec"]["replicas"] = 3
        self.expect("its target has replicas of its own")

    def test_a_namespace_that_is_open(self):
        self.items.remove(self.get("NetworkPolicy", "waypost-deny-all"))
        self.expect("no NetworkPolicy denies what none allows")

    def test_an_image_of_another_version(self):
        self.box["image"] = "registry.example.com/waypost:latest"
        self.expect("waypost:latest is not of this version")

    def test_a_probe_on_the_wrong_port(self):
        self.box["readinessProbe"]["httpGet"]["port"] = "http"
        self.expect("readinessProbe asks the port http")

    def test_a_probe_for_the_wrong_path(self):
        self.box["livenessProbe"]["httpGet"]["path"] = "/readyz"
        self.expect("livenessProbe asks for /readyz, not /healthz")

    def test_a_listener_that_moved(self):
        self.config["waypost.toml"] = self.config["waypost.toml"].replace(":8082", ":9090")
        self.expect("the port admin is not that of 0.0.0.0:9090")

    def test_a_grace_that_cuts_the_drain_short(self):
        self.pod["terminationGracePeriodSeconds"] = 30
        self.expect("terminationGracePeriodSeconds is 30, but it may take 35 s to end")

    def test_a_drain_that_outgrows_the_grace(self):
        self.config["edge.toml"] = self.config["edge.toml"].replace("= 25000", "= 60000")
        self.expect("but it may take 70 s to end")

    def test_a_volume_smaller_than_the_spool(self):
        claim = self.edge["spec"]["volumeClaimTemplates"][0]
        claim["spec"]["resources"]["requests"]["storage"] = "20Gi"
        self.expect("smaller than twice spool.max_bytes")

    def test_more_runtimes_than_cpu(self):
        self.box["resources"]["requests"]["cpu"] = "1500m"
        self.expect("edge.cores is 2")

    def test_a_setting_that_does_not_exist(self):
        self.config["edge.toml"] += "\n[kafca]\nbrokers = 'a:1'\n"
        self.expect("edge.toml: there is no setting kafca.brokers")

    def test_a_setting_out_of_its_range(self):
        self.config["edge.toml"] = self.config["edge.toml"].replace("= 20000", "= 0")
        self.expect("edge.max_connections")

    def test_a_file_that_no_config_map_has(self):
        del self.config["kafka.toml"]
        self.expect("no ConfigMap has the file kafka.toml")

    def test_a_secret_that_the_example_does_not_have(self):
        self.box["envFrom"][0]["secretRef"]["name"] = "waypost-key"
        self.expect("the example has no Secret waypost-key")

    def test_a_command_that_waypost_does_not_have(self):
        self.get("Job", "waypost-migrate")["spec"]["template"]["spec"]["containers"][0]["args"][0] = "migrat"
        self.expect("unrecognized subcommand 'migrat'")


if __name__ == "__main__":
    unittest.main()
