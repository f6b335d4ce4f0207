"""`docker compose up`: the first answer over TLS, and the isolation of the stack."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import httpx
import pytest

from tests.app.registry.hostile import HOSTILE
from tests.conftest import shipped_artifact
from tests.docker.stack import ONNX, PNG, Stack, docker, run, until

SERVICES = ("proxy", "app", "db")


def test_the_documented_steps_lead_to_an_answer(
    new_stack: Callable[..., Stack], png: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = new_stack("steps", model="")
    began = monotonic()
    stack.up()
    with stack.client() as client:
        response = client.post("/predict", content=png, headers=PNG)
        took = monotonic() - began
        assert response.status_code == 200, response.text
        assert client.get(f"/predictions/{response.json()['id']}").json() == response.json()
    with capsys.disabled():
        print(f"\n[from `docker compose up -d --wait` to the first answer over TLS: {took:.1f} s]")
    stack.down()


def test_http_is_sent_to_https(stack: Stack) -> None:
    response = httpx.get(f"http://localhost:{stack.http}/predictions?limit=1", trust_env=False)
    assert response.status_code == 308
    assert response.headers["location"] == f"https://localhost:{stack.https}/predictions?limit=1"


def test_the_proxy_adds_headers_and_keeps_the_servers(stack: Stack) -> None:
    with stack.client() as client:
        headers = client.get("/readyz").headers
    assert headers["strict-transport-security"].startswith("max-age=")
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "server" not in headers


def test_old_tls_is_refused(stack: Stack) -> None:
    context = stack.authority()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", stack.https)) as connection,
        pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"),
    ):
        context.wrap_socket(connection, server_hostname="localhost")


def test_bodies_are_bounded(stack: Stack) -> None:
    with stack.client() as client:
        assert client.post("/predict", content=bytes(2**21), headers=PNG).status_code == 413
        chunks = (bytes(2**20) for _ in range(80))
        assert client.post("/admin/models", content=chunks, headers=ONNX).status_code == 413


def test_the_audit_trail_names_the_client_and_not_what_it_claims(stack: Stack) -> None:
    claimed = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "Forwarded": "for=203.0.113.9"}
    with stack.client() as client:
        made = client.post("/admin/keys", json={"role": "read", "name": "archive"}, headers=claimed)
        assert made.status_code == 201, made.text
        entry = client.get("/admin/audit?limit=1").json()["entries"][0]
    networks = stack.inspect("proxy")["NetworkSettings"]["Networks"]
    assert (entry["action"], entry["address"]) == ("key.create", networks[f"{stack.project}_edge"]["Gateway"])


def test_what_must_outlive_a_container_is_on_volumes(stack: Stack) -> None:
    mounts = {each: stack.inspect(each)["Mounts"] for each in SERVICES}
    volumes = [mount for each in SERVICES for mount in mounts[each] if "Name" in mount]
    assert {mount["Destination"]: mount["Name"] for mount in volumes if mount["RW"]} == {
        "/var/lib/rosette": f"{stack.project}_home",
        "/var/lib/postgresql/data": f"{stack.project}_database",
        "/data": f"{stack.project}_certificates",
    }
    assert [mount["Destination"] for mount in volumes if not mount["RW"]] == ["/slides"]
    assert all(mount["RW"] is False for each in SERVICES for mount in mounts[each] if mount["Type"] == "bind")


@pytest.fixture(scope="module")
def clinic(new_stack: Callable[..., Stack]) -> Stack:
    """A stack with a certificate of the clinic's own, and sign-in at an identity provider."""
    own = "/run/tls/certificate.pem /run/tls/key.pem"
    overlaid = "compose.yaml:docker/sign-in.yaml"
    stack = new_stack("clinic", ROSETTE_TLS=own, ROSETTE_HOSTNAME="rosette.clinic.example", COMPOSE_FILE=overlaid)
    secrets = stack.folder / "docker" / "secrets"
    tls = secrets / "tls"
    files = ["-keyout", str(tls / "key.pem"), "-out", str(tls / "certificate.pem")]
    names = ["-subj", "/CN=rosette.clinic.example", "-addext", "subjectAltName=DNS:rosette.clinic.example"]
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files])
    (tls / "key.pem").chmod(0o444)
    (secrets / "oidc_client_secret").write_text("a secret of the provider")
    (secrets / "oidc_client_secret").chmod(0o444)
    (stack.folder / "docker" / "settings.env").write_text(
        "ROSETTE_OIDC_ISSUER=https://login.clinic.example\n"
        "ROSETTE_OIDC_CLIENT_ID=rosette\n"
        "ROSETTE_OIDC_ROLES=rosette-admins=admin\n"
    )
    stack.up()
    return stack


def test_a_clinics_own_certificate_is_served(clinic: Stack) -> None:
    context = ssl.create_default_context(cafile=str(clinic.folder / "docker" / "secrets" / "tls" / "certificate.pem"))
    with (
        socket.create_connection(("127.0.0.1", clinic.https)) as connection,
        context.wrap_socket(connection, server_hostname="rosette.clinic.example") as secured,
        secured.makefile("rb") as answer,
    ):
        secured.sendall(b"GET /login HTTP/1.1\r\nHost: rosette.clinic.example\r\nConnection: close\r\n\r\n")
        assert answer.readline().startswith(b"HTTP/1.1 200 ")
        assert b'href="/login/oidc' in answer.read()


def test_the_server_reaches_what_is_outside_for_sign_in_alone(clinic: Stack, stack: Stack) -> None:
    with socket.create_server(("0.0.0.0", 0)) as outside:
        reach = (
            "import socket, sys\n"
            "route = next(line.split() for line in open('/proc/net/route') if line.split()[1] == '00000000')\n"
            "gateway = socket.inet_ntoa(bytes.fromhex(route[2])[::-1])\n"
            f"socket.create_connection((gateway, {outside.getsockname()[1]}), 10).close()\n"
        )
        clinic.compose("exec", "-T", "app", "python", "-c", reach)
        done = subprocess.run(
            ["docker", "compose", "exec", "-T", "app", "python", "-c", reach],
            cwd=stack.folder, env=stack.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    assert "StopIteration" in done.stderr  # no route leads out of the stack's own networks


def test_without_a_name_nothing_starts(stack: Stack) -> None:
    environment = stack.environment | {"ROSETTE_HOSTNAME": ""}
    done = subprocess.run(
        ["docker", "compose", "config"], cwd=stack.folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "make env" in done.stderr


def test_secrets_are_made_once_and_are_closed_to_others(stack: Stack) -> None:
    secrets = stack.folder / "docker" / "secrets"
    before = {path.name: path.read_text() for path in secrets.iterdir() if path.is_file()}
    assert set(before) == {"admin_key", "database_password", "postgres_password", "grafana_password"}
    assert len(set(before.values())) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in before.values())
    assert secrets.stat().st_mode & 0o777 == 0o700
    settings = (stack.folder / ".env").read_text()
    stack.script("env.sh", "another.name")
    assert {path.name: path.read_text() for path in secrets.iterdir() if path.is_file()} == before
    assert (stack.folder / ".env").read_text() == settings


def test_no_secret_is_in_an_environment_or_a_log(stack: Stack) -> None:
    seen = "".join(json.dumps(stack.inspect(service)) for service in SERVICES) + stack.compose("logs")
    for name in ("admin_key", "database_password", "postgres_password"):
        assert stack.secret(name) not in seen, name


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_hardened(stack: Stack, service: str) -> None:
    described = stack.inspect(service)
    host = described["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert not [option for option in host["SecurityOpt"] if "unconfined" in option]
    assert host["RestartPolicy"]["Name"] == "always"
    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert host["LogConfig"]["Config"].keys() >= {"max-size", "max-file"}
    assert not host["Privileged"]
    assert "docker.sock" not in json.dumps(described["Mounts"])
    status = Path(f"/proc/{described['State']['Pid']}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert {fields[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


def test_only_the_proxy_is_published_and_on_the_named_address_alone(stack: Stack) -> None:
    published = {service: stack.inspect(service)["HostConfig"]["PortBindings"] for service in SERVICES}
    assert not published["app"]
    assert not published["db"]
    addresses = {binding["HostIp"] for bindings in published["proxy"].values() for binding in bindings}
    assert addresses == {"127.0.0.1"}


@contextmanager
def listening_everywhere() -> Iterator[tuple[list[str], int]]:
    """All this machine's addresses, and a port on which something answers on each."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        accepted = threading.Thread(target=_accept, args=[listener], daemon=True)
        accepted.start()
        port = listener.getsockname()[1]
        found = json.loads(run(["ip", "-json", "address"]))
        addresses = [address["local"] for link in found for address in link["addr_info"] if link["ifname"] != "lo"]
        yield addresses, port
        listener.shutdown(socket.SHUT_RDWR)
        accepted.join()


def _accept(listener: socket.socket) -> None:
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


TRY = """
import json, socket
opened = []
for address in {addresses}:
    for interface in (['', '%eth0', '%eth1'] if address.startswith('fe80') else ['']):
        try:
            socket.create_connection((address + interface, {port}), timeout=2).close()
            opened.append(address)
        except OSError:
            pass
print(json.dumps(opened))
"""
REACHED = """
import json, socket
def opens(name, port):
    try:
        socket.create_connection((name, port), timeout=2).close()
        return True
    except OSError:
        return False
print(json.dumps([n for n, p in (('app', 8000), ('db', 5432), ('proxy', 8443)) if opens(n, p)]))
"""


@pytest.mark.parametrize("service", ["app", "db"])
def test_nothing_inside_opens_a_connection_to_the_outside(stack: Stack, service: str) -> None:
    with listening_everywhere() as (addresses, port):
        assert len(addresses) > 1
        reachable_from_here = [a for a in addresses if "." in a]
        for address in reachable_from_here:
            socket.create_connection((address, port), timeout=2).close()
        assert json.loads(stack.python(service, TRY.format(addresses=addresses, port=port))) == []
    routes = stack.python(service, "print(open('/proc/net/route').read())").splitlines()[1:]
    assert [route for route in routes if route.split()[1] == "00000000"] == []


@pytest.mark.usefixtures("root")
def test_the_proxy_finds_no_way_out_of_this_machine(stack: Stack) -> None:
    """Its network is the one with the published port; what it sends would leave with an address nobody answers."""
    options = json.loads(docker("network", "inspect", f"{stack.project}_edge"))[0]["Options"]
    assert options["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    rules = run(["iptables-save", "-t", "nat"])
    subnet = json.loads(docker("network", "inspect", f"{stack.project}_edge"))[0]["IPAM"]["Config"][0]["Subnet"]
    assert f"-A POSTROUTING -s {subnet} " not in rules


def test_the_database_is_the_apps_alone(stack: Stack) -> None:
    assert set(json.loads(stack.python("proxy", REACHED))) == {"app", "proxy"}
    assert set(json.loads(stack.python("app", REACHED))) == {"app", "db", "proxy"}
    assert set(json.loads(stack.python("db", REACHED))) == {"app", "db"}


def test_names_of_the_outside_are_not_looked_up(stack: Stack) -> None:
    program = "import socket\ntry: print(socket.gethostbyname('rosette.example'))\nexcept OSError: print('unknown')"
    assert stack.python("app", program) == "unknown"


def test_the_servers_role_owns_its_database_and_no_more(stack: Stack) -> None:
    role = "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles"
    assert stack.sql(f"{role} WHERE rolname = 'rosette'") == "f|f|f|f|f"
    assert (
        stack.sql("SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'rosette'") == "rosette"
    )
    program = """
import psycopg
try: psycopg.connect('host=db dbname=rosette user=rosette password=wrong', connect_timeout=5)
except psycopg.OperationalError as error: print('refused' if 'authentication failed' in str(error) else error)
"""
    assert stack.python("app", program) == "refused"


def test_commits_wait_for_the_disk(stack: Stack) -> None:
    for name in ("fsync", "full_page_writes", "data_checksums"):
        assert stack.sql(f"SHOW {name}") == "on"


def upload(client: httpx.Client, artifact: bytes) -> httpx.Response:
    """The answer to an upload, once the one before is through with its vetting."""
    answers: list[httpx.Response] = []

    def answered() -> bool:
        answers.append(client.post("/admin/models", content=artifact, headers=ONNX))
        return answers[-1].status_code != 503

    until(answered, 300, "the turn of an upload")
    return answers[-1]


def test_an_upload_is_vetted_by_a_process_without_rights(stack: Stack) -> None:
    with stack.client() as client:
        artifact = shipped_artifact().read_bytes()
        [model] = [each for each in client.get("/admin/models").json()["models"] if each["name"] == "accurate"]
        refused = upload(client, HOSTILE["pickle"].make(artifact, Path()))
        assert refused.status_code == 422, refused.text
        flipped = upload(client, HOSTILE["bit flipped"].make(artifact, Path()))
        steps = {step["name"]: step for step in flipped.json()["report"]["steps"]}
        assert flipped.status_code == 422
        assert steps["sandbox"]["passed"], steps
        assert steps["sandbox"]["detail"].startswith("no files, network, processes or signals")
        assert client.get("/readyz").json()["sha256"] == model["id"]


def test_the_vetting_process_can_neither_connect_nor_fork_nor_write(stack: Stack) -> None:
    """The very function that the vetting process calls first, in the container of the server."""
    program = """
import errno, os, socket
from app.registry.sandbox import give_up_rights
attempts = {
    "connect": lambda: socket.socket(socket.AF_INET).connect(("127.0.0.1", 8000)),
    "fork": os.fork,
    "write": lambda: os.open("/var/lib/rosette/journal/mine", os.O_WRONLY | os.O_CREAT),
    "write to /tmp": lambda: os.open("/tmp/mine", os.O_WRONLY | os.O_CREAT),
    "read a secret": lambda: os.open("/run/secrets/admin_key", os.O_RDONLY),
    "kill the server": lambda: os.kill(1, 9),
    "run a shell": lambda: os.execv("/bin/sh", ["sh"]),
}
give_up_rights()
said = []
for name, attempt in attempts.items():
    try:
        attempt()
        said.append(name + ": done")
    except OSError as error:
        said.append(name + ": " + errno.errorcode[error.errno])
os.write(1, "\\n".join(said).encode())
os._exit(0)
"""
    said = stack.compose("exec", "-T", "app", "python", "-c", program).splitlines()
    assert len(said) == 7
    assert [line for line in said if not line.endswith(": EPERM")] == []
