"""The light shape: a control plane, two S3 servers and the operator as plain processes. No root."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import chart
import dialects
import outputs
import processes
import storage
import trevor
from cluster import Cluster
from ports import Ports


def up(folder, tools, with_operator, step, static_admission=False, server="seaweedfs"):
    """Everything in order; `step(text)` reports what has just been reached."""
    if with_operator:
        trevor.needed_binary()
    ports = Ports()
    (folder / "ports").write_text(f"{ports.next} {ports.end}\n")  # for down(), also of a run that was killed
    cluster = Cluster(folder, tools, ports)
    buckets = {"quarantine": storage.quarantine(), "staging": storage.staging(), "release": storage.release()}
    make = dialects.SERVERS[server]
    inside = make(folder, "s3-quarantine", tools, ports, [buckets["quarantine"], buckets["staging"]])
    outside = make(folder, "s3-release", tools, ports, [buckets["release"]])
    addresses = {name: f"127.0.0.1:{ports.new()}" for name in ("controller", "gateway", "gateway_metrics")}
    settings = trevor.storage_settings(buckets["quarantine"], buckets["release"], buckets["staging"])
    gateway_url = f"http://{addresses['gateway']}"

    with ThreadPoolExecutor() as pool:
        for each in (inside, outside):
            each.start()
        prepared = [pool.submit(each.prepare) for each in (inside, outside)]
        rendered = pool.submit(chart.render, folder, tools, trevor.chart_values(settings, gateway_url))
        cluster.start(static_admission)
        step("etcd and kube-apiserver")
        kubeconfig = cluster.kubeconfig("kubeconfig")
        cluster.create_namespaces()
        chart.apply(folder, tools, kubeconfig, rendered.result())
        chart.files(folder)
        step("the chart's CRDs, roles and policies")
        cluster.start_controller_manager()
        cluster.bind_roles()
        trevor.make_signing_key(folder)
        for process in trevor.PROCESSES:
            trevor.write_identity(folder, cluster, process)
            outputs.write_process_environment(folder, process, trevor.environment(folder, process, buckets))
            storage.write_secret(folder / f"{process}.yaml", trevor.configuration(folder, settings, addresses))
        outputs.write_process_environment(folder, "packaging", trevor.make_packaging_identity(folder, cluster, buckets))
        for each in prepared:
            each.result()
        step("two S3 servers, their buckets and identities")

    state = {
        "shape": "light", "storage": server, "folder": str(folder), "addresses": addresses,
        "tools": {name: str(path) for name, path in tools.items()}, "bin": None, "tokens": {}, "pids": {},
        "buckets": {name: {"bucket": bucket.name, "endpoint": bucket.endpoint, "root": bucket.keys["root"]}
                    for name, bucket in buckets.items()},
    }
    outputs.link_programs(folder, {"kubectl": tools["kubectl"], "helm": tools["helm"]})
    if with_operator:
        state = operator_up(folder, state, step)
    chart.wait_until_served(cluster.admin)
    cluster.wait_for_accounts()
    step("kinds with admission policies are served")
    outputs.write(folder, state)


def operator_up(folder, state, step):
    """Start the operator and let people log in; gives the new state."""
    program = trevor.needed_binary()
    outputs.link_programs(folder, {"trevor": program, "kubectl-airlock": program})
    pids = trevor.start_operator(folder, state["addresses"])
    step("trevor controller and trevor gateway")
    tokens = state["tokens"] or trevor.sessions(folder, f"http://{state['addresses']['gateway']}")
    return {**state, "bin": str(program), "pids": pids, "tokens": tokens}


def restart(folder, state, step):
    """The operator only: the same configuration, perhaps a new build."""
    trevor.stop_operator(folder)
    step("stopped")
    outputs.write(folder, operator_up(folder, state, step))


def down(folder):
    """Every process, and the sockets that SeaweedFS leaves."""
    processes.stop(folder)
    with contextlib.suppress(OSError, ValueError):
        storage.remove_sockets(range(*map(int, (folder / "ports").read_text().split())))
