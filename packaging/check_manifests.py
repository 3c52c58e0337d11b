"""Renders the Helm chart and the kustomizations of this folder, and validates what comes out.

Run by `cargo xtask dist --test`, with the tools of `MANIFEST_TOOLS` in xtask/src/setup.rs: Helm's own
engine, the schemas of Kubernetes, and the models of the Prometheus operator. Prints a line for each
check; exits with 1 if one fails.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import helm_python as helm
import kubernetes_validate as kubernetes
import yaml
from cloudcoil.models.prometheus_operator.v1 import PodMonitor

HERE = pathlib.Path(__file__).parent
CHART = HERE / "helm" / "rstmon"
# The oldest that `kubeVersion` of the chart allows, and the newest of which there is a schema.
VERSIONS = ["1.30", kubernetes.latest_version()]
# What a chart is rendered with; together they take every branch of its templates.
VALUES = {
    "defaults": {},
    "everything": {
        "image": {"tag": "1.2.3", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "extraArgs": ["--metrics.peers", "true"],
        "port": 9999,
        "scheme": "HTTPS",
        "seLinuxOptions": {"type": "spc_t"},
        "extraVolumes": [{"name": "web", "secret": {"secretName": "rstmon-web"}}],
        "extraVolumeMounts": [{"name": "web", "mountPath": "/etc/rstmon", "readOnly": True}],
        "priorityClassName": "system-node-critical",
        "resources": {},
        "podMonitor": {
            "enabled": True,
            "labels": {"release": "prom"},
            "interval": "15s",
            "tlsConfig": {"serverName": "rstmon"},
        },
    },
    "privileged": {
        "privileged": True,
        "seLinuxOptions": {"type": "spc_t"},
        "nodeSelector": {},
        "tolerations": [],
    },
}

failed = 0


def check(name, complaint):
    """A line for a check; `complaint` is empty where nothing is wrong."""
    global failed
    failed += bool(complaint)
    print(f"test manifests: {name} ... {'FAILED: ' + complaint if complaint else 'ok'}", flush=True)


def complaint_of(document):
    """What is wrong with a manifest by the schema of its kind."""
    if document["kind"] == "PodMonitor":
        try:
            known = PodMonitor.model_validate(document)
        except ValueError as error:
            return str(error)
        # The model leaves out what it does not know.
        known = known.model_dump(by_alias=True, exclude_unset=True, mode="json")
        return "" if known == document else f"unknown fields: {json.dumps(document)}"
    for version in VERSIONS:
        try:
            kubernetes.validate(document, version, strict=True)
        except kubernetes.ValidationError as error:
            return f"{version}: {error}"
    return ""


def check_all(name, text):
    """Validates each document of a text, and returns them by kind."""
    documents = {}
    for document in filter(None, yaml.safe_load_all(text)):
        documents[document["kind"]] = document
        check(f"{name}: {document['kind']}", complaint_of(document))
    return documents


def pod_of(documents):
    """The pod of a set of manifests, and its only container."""
    pod = documents["DaemonSet"]["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def check_pod_monitor(name, documents):
    """The labels that a PodMonitor gives: the workload's stay, and a host's are those of its node."""
    endpoint = documents["PodMonitor"]["spec"]["podMetricsEndpoints"][0]
    honors = endpoint.get("honorLabels") is True
    check(f"{name}: the workload's labels win", "" if honors else "honorLabels is not true")
    node = {
        it["targetLabel"]
        for it in endpoint["relabelings"]
        if it.get("sourceLabels") == ["__meta_kubernetes_pod_node_name"]
    }
    dropped = [it["regex"] for it in endpoint["relabelings"] if it.get("action") == "labeldrop"]
    lasts = node == {"node", "instance"} and dropped == ["pod|container|endpoint"]
    check(f"{name}: series outlast a pod", "" if lasts else str(endpoint["relabelings"]))


def check_values(documents):
    """What is asked for by the values "everything" is what comes out."""
    pod, container = pod_of(documents)
    values = VALUES["everything"]
    probes = ["startupProbe", "readinessProbe", "livenessProbe"]
    endpoint = documents["PodMonitor"]["spec"]["podMetricsEndpoints"][0]
    asked = {
        "arguments": container["args"][1:] == ["--web.listen-address=:9999", *values["extraArgs"]],
        "volumes": pod["volumes"][-1:] == values["extraVolumes"],
        "mounts": container["volumeMounts"][-1:] == values["extraVolumeMounts"],
        "SELinux": container["securityContext"].get("seLinuxOptions") == values["seLinuxOptions"],
        "probes": all(container[it]["httpGet"].get("scheme") == "HTTPS" for it in probes),
        "scheme": endpoint.get("scheme") == "https",
        "TLS": endpoint.get("tlsConfig") == values["podMonitor"]["tlsConfig"],
    }
    for name, is_there in asked.items():
        check(f"helm: {name} are passed on", "" if is_there else json.dumps([pod, endpoint]))


def check_chart():
    """Lints the chart and renders it with all values; by default it is the kustomization's."""
    found = helm.lint(str(CHART), strict=True)
    errors = found["errors"] + [it for it in found["messages"] if it["severity"] > 1]
    check("helm lint", "; ".join(map(str, errors)))
    rendered = {}
    with helm.Chart.load(str(CHART)) as chart:
        for name, values in VALUES.items():
            manifests = chart.render(values, name="demo", namespace="monitoring")
            rendered[name] = check_all(f"helm {name}", "\n---\n".join(manifests.values()))
    by_default = pod_of(rendered["defaults"])[1]
    check("helm: no PodMonitor by default", "PodMonitor" in rendered["defaults"] and "it is there")
    check_values(rendered["everything"])
    check_pod_monitor("helm", rendered["everything"])
    every_address = "--web.listen-address=:19435" in by_default["args"]
    check("helm: listens on IPv6 and IPv4", "" if every_address else str(by_default["args"]))
    privileged = pod_of(rendered["privileged"])[1]["securityContext"]
    is_labelled = privileged.get("seLinuxOptions") == {"type": "spc_t"}
    check("helm: SELinux beside privileged", "" if is_labelled else str(privileged))
    plain = yaml.safe_load((HERE / "kubernetes/base/daemonset.yaml").read_text())
    plain = pod_of({"DaemonSet": plain})[1]
    same = ["args", "ports", "securityContext", "volumeMounts", "resources", "startupProbe"]
    differing = [key for key in same if by_default[key] != plain[key]]
    check("helm: the container is the kustomization's", ", ".join(differing))


def check_kustomizations():
    """Builds each kustomization, where kubectl is new enough to know what they use."""
    folders = [path.parent for path in sorted(HERE.glob("kubernetes/**/kustomization.yaml"))]
    for folder in folders:
        name = f"kustomize {folder.relative_to(HERE / 'kubernetes')}"
        built = subprocess.run(
            ["kubectl", "kustomize", folder], capture_output=True, text=True, check=False
        )
        check(name, built.stderr.strip() if built.returncode else "")
        if built.returncode == 0:
            documents = check_all(name, built.stdout)
            if "PodMonitor" in documents:
                check_pod_monitor(name, documents)


check_chart()
if shutil.which("kubectl"):
    check_kustomizations()
else:
    print("NOT RUN: the kustomizations: kubectl is not there")
    for file in sorted(HERE.glob("kubernetes/**/*.yaml")):
        if file.name != "kustomization.yaml":
            name = str(file.relative_to(HERE))
            documents = check_all(name, file.read_text())
            if "PodMonitor" in documents:
                check_pod_monitor(name, documents)
sys.exit(failed != 0)
