"""What people and tests read: env.sh, env.json, controller.env, gateway.env."""

import json
import os
import shlex

from storage import write_secret


def variables(state):
    """What env.sh exports (tests/env/README.md#what-lies-in-the-folder), and where the tools are."""
    folder, values = state["folder"], {}
    values["KUBECONFIG"] = f"{folder}/kubeconfig"
    values["KUBECACHEDIR"] = f"{folder}/home/kube"
    values["TREVOR_ENV_DIR"] = folder
    if state["bin"]:
        values["TREVOR_BIN"] = state["bin"]
    values["TREVOR_GATEWAY_URL"] = f"{'https' if state.get('gateway_ca') else 'http'}://{state['addresses']['gateway']}"
    if state.get("gateway_ca"):
        values["TREVOR_GATEWAY_CA"] = state["gateway_ca"]
    values["TREVOR_CONTROLLER_URL"] = f"http://{state['addresses']['controller']}"
    for person, token in state["tokens"].items():
        values[f"TREVOR_TOKEN_{person.upper()}"] = token
    for name, bucket in state["buckets"].items():
        values[f"TREVOR_{name.upper()}_ENDPOINT"] = bucket["endpoint"]
        values[f"TREVOR_{name.upper()}_BUCKET"] = bucket["bucket"]
        for part, value in bucket["root"].items():
            values[f"TREVOR_{name.upper()}_{part.upper()}"] = value
    for process, pid in state["pids"].items():
        values[f"TREVOR_{process.upper()}_PID"] = str(pid)
    values["TREVOR_AUDIT_PUBLIC_KEY"] = f"{folder}/audit-public-key.pem"
    values["TREVOR_COSIGN"] = state["tools"]["cosign"]
    values["TREVOR_BOTO3_PYTHON"] = state["tools"]["boto3_python"]
    values["TREVOR_SMTP_PYTHON"] = state["tools"]["smtp_python"]
    values["TREVOR_CRATE_VALIDATOR"] = state["tools"]["crate_validator"]
    values["TREVOR_CRATE_PYTHON"] = os.path.join(os.path.dirname(state["tools"]["crate_validator"]), "python")
    values["TREVOR_CRATE_CONTEXT"] = state["tools"]["crate_context"]
    return values


def write(folder, state):
    """Both files say the same; env.json is written last and means that all is there."""
    exported = variables(state)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exported.items()]
    lines.append(f"export PATH={shlex.quote(state['folder'] + '/bin')}:\"$PATH\"")
    write_secret(folder / "env.sh", "\n".join(lines) + "\n")
    write_secret(folder / "env.json", json.dumps({**state, "variables": exported}, indent=1) + "\n")


def read(folder):
    """What env.json says, or None."""
    try:
        return json.loads((folder / "env.json").read_text())
    except (OSError, ValueError):
        return None


def write_process_environment(folder, process, values):
    write_secret(folder / f"{process}.env", "".join(f"{name}={value}\n" for name, value in values.items()))


def link_programs(folder, programs):
    """`<folder>/bin`, for PATH."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, path in programs.items():
        link = folder / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
