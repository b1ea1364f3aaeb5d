# shellcheck shell=bash
# What the checks of Kubernetes, alerts and dashboards need; sourced from the repository's root. All of it goes to
# target/tools, once.

tools="$PWD/target/tools"

# The newest kustomize that Go 1.19 builds, which is Debian 12's.
kustomize_version=v5.3.0

# The Prometheus Operator whose definitions of ServiceMonitor and PrometheusRule are used: newer modules cannot be read
# by Go 1.19, and neither object has changed in what is used here.
operator_version=v0.62.0

say() { printf '\n== %s\n' "$*"; }

# What is fetched may be away for a moment.
thrice() { "$@" || { sleep 5; "$@"; } || { sleep 5; "$@"; }; }

# A Python with PyYAML, jsonschema and the schemas of Kubernetes: sets $python.
python_tools() {
    local venv="$tools/k8s-python" wanted=k8s/checks/requirements.txt
    python="$venv/bin/python"
    cmp -s "$wanted" "$venv/requirements.txt" && return
    scripts/services install python
    say "fetching the Python packages of $wanted into target/tools"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted"
    cp "$wanted" "$venv/requirements.txt"
}

# Sets $kustomize.
kustomize_tool() {
    kustomize="$tools/kustomize-$kustomize_version/kustomize"
    [ -x "$kustomize" ] && return
    scripts/services install go
    say "building kustomize $kustomize_version into target/tools"
    GOBIN="${kustomize%/*}" thrice go install "sigs.k8s.io/kustomize/kustomize/v5@$kustomize_version"
}

# The schemas of the Prometheus Operator's objects: sets $definitions to their folder.
operator_definitions() {
    definitions="$tools/prometheus-operator-$operator_version"
    [ -d "$definitions" ] && return
    scripts/services install go
    say "fetching the definitions of the Prometheus Operator $operator_version into target/tools"
    local module folder=example/prometheus-operator-crd kind
    module=$(cd "$tools" && thrice go mod download -json "github.com/prometheus-operator/prometheus-operator@$operator_version" |
        sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    mkdir "$definitions.part"
    for kind in prometheusrules servicemonitors; do
        install -m 644 "$module/$folder/monitoring.coreos.com_$kind.yaml" "$definitions.part"
    done
    mv "$definitions.part" "$definitions"
}
