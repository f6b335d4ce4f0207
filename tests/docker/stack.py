"""The stack of the compose file, built and started in its own folder and project."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx

from tests.conftest import ROOT

VERSION = "test"
IMAGES = {"app": f"rosette-app:{VERSION}", "proxy": f"rosette-proxy:{VERSION}"}
OURS = ("compose.yaml", "Makefile", "LICENSE", "docker", "docs")
PNG = {"Content-Type": "image/png"}
ONNX = {"Content-Type": "application/octet-stream"}


def run(command: Sequence[str], *, check: bool = True, **options: Any) -> str:
    """A command's output; its complaints are shown when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout).strip()


def docker(*arguments: str, check: bool = True) -> str:
    return run(["docker", *arguments], check=check)


def until(met: Callable[[], bool], seconds: float, what: str = "it") -> float:
    """Wait for something; gives how many seconds it took."""
    began = monotonic()
    while not met():
        assert monotonic() - began < seconds, f"{what} did not happen within {seconds} s"
        sleep(0.1)
    return monotonic() - began


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def copy_installation(folder: Path) -> None:
    """What an administrator's checkout holds of the stack, without anybody's secrets."""
    tracked = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *OURS], cwd=ROOT).splitlines()
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


class Stack:
    """One project: its folder has its own .env, secrets and ports.

    Args:
        folder: where compose.yaml lies.
        project: name of the project, so that several stacks do not meet.
        options: further variables for compose.
    """

    def __init__(self, folder: Path, project: str, **options: str) -> None:
        self.folder = folder
        self.project = project
        self.https, self.http = free_port(), free_port()
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("ROSETTE_")}
        self.environment |= {
            "COMPOSE_PROJECT_NAME": project,
            "ROSETTE_VERSION": VERSION,
            "ROSETTE_HTTPS_PORT": str(self.https),
            "ROSETTE_HTTP_PORT": str(self.http),
        } | options

    def script(self, name: str, *arguments: str, check: bool = True) -> str:
        return run(["sh", f"docker/{name}", *arguments], check=check, cwd=self.folder, env=self.environment)

    def compose(self, *arguments: str, check: bool = True) -> str:
        return run(["docker", "compose", *arguments], check=check, cwd=self.folder, env=self.environment)

    def up(self, *arguments: str) -> None:
        self.compose("up", "--detach", "--wait", *arguments)

    def down(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "5")

    def secret(self, name: str) -> str:
        return (self.folder / "docker" / "secrets" / name).read_text()

    def authority(self) -> ssl.SSLContext:
        """Trust in the stack's own certificate authority, and in no other."""
        root = self.compose("exec", "-T", "proxy", "cat", "/data/caddy/pki/authorities/local/root.crt")
        return ssl.create_default_context(cadata=root)

    def client(self, key: str | None = None, timeout: float = 60) -> httpx.Client:
        """A client of the proxy, with the admin key unless another is given."""
        return httpx.Client(
            base_url=f"https://localhost:{self.https}",
            headers={"Authorization": f"Bearer {key or self.secret('admin_key')}"},
            verify=self.authority(),
            timeout=timeout,
            trust_env=False,
        )

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def inspect(self, service: str) -> dict[str, Any]:
        [described] = json.loads(docker("inspect", self.containers(service)[0]))
        return dict(described)

    def pids(self, service: str) -> list[int]:
        """Of the first process of each container, as the machine counts."""
        pids = [docker("inspect", "--format", "{{.State.Pid}}", each) for each in self.containers(service)]
        return [int(pid) for pid in pids if pid != "0"]

    def python(self, service: str, program: str, container: str | None = None) -> str:
        """Run Python in the network of a service's container, whatever is installed in it."""
        network = f"container:{container or self.containers(service)[0]}"
        return docker("run", "--rm", "--network", network, IMAGES["app"], "python", "-c", program)

    def sql(self, statement: str, *options: str) -> str:
        command = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username=postgres", *options]
        return self.compose("exec", "-T", "db", *command, "--dbname=rosette", f"--command={statement}")

    def database_answers(self) -> bool:
        return "accepting" in self.compose("exec", "-T", "db", "pg_isready", "--host=127.0.0.1", check=False)

    def recorded(self) -> set[str]:
        return set(self.sql("SELECT id FROM predictions").split())
