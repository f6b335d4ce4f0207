"""The sandbox: the kernel refuses forbidden operations; without a sandbox there is an error."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

STRANGER = 10001
ATTEMPTS = """
import ctypes, errno, json, mmap, os, pyseccomp, socket, sys, threading
from pathlib import Path
from app.registry.sandbox import give_up_rights

folder, port, user, confined = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "confined"
libc = ctypes.CDLL(None, use_errno=True)
if user != os.getuid():
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    libc.prctl(38, 1, 0, 0, 0)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
ready = socket.socket()

def fork():
    if os.fork() == 0:
        os._exit(0)
    os.wait()

def thread():
    started = threading.Thread(target=int)
    started.start()
    started.join()

def traced():
    if libc.ptrace(0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")

attempts = {
    "connect": lambda: ready.connect(("127.0.0.1", port)),
    "make a socket": lambda: socket.socket(socket.AF_INET),
    "fork": fork,
    "start a thread": thread,
    "run a program": lambda: os.execv("/nowhere", ["nowhere"]),
    "read a file": lambda: os.open(folder / "there", os.O_RDONLY),
    "write a file": lambda: os.open(folder / "there", os.O_WRONLY),
    "make a file": lambda: os.open(folder / "new", os.O_WRONLY | os.O_CREAT),
    "look at a file": lambda: os.stat(folder / "there"),
    "make a folder": lambda: os.mkdir(folder / "folder"),
    "make a link": lambda: os.symlink("there", folder / "link"),
    "change a mode": lambda: os.chmod(folder / "new", 0o600),
    "rename a file": lambda: os.rename(folder / "there", folder / "renamed"),
    "unlink a file": lambda: os.unlink(folder / "renamed"),
    "make a pipe": os.pipe,
    "make memory executable": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "change its priority": lambda: os.nice(1),
    "change the user": lambda: os.setuid(os.getuid()),
    "signal itself": lambda: os.kill(os.getpid(), 0),
    "signal its group": lambda: os.killpg(0, 0),
    "be traced": traced,
}
if confined:
    give_up_rights()
outcomes = {}
for name, attempt in attempts.items():
    try:
        attempt()
        outcomes[name] = "done"
    except OSError as error:
        outcomes[name] = errno.errorcode[error.errno]
    except RuntimeError as error:
        outcomes[name] = str(error)
os.write(1, json.dumps([status["Uid"], status["CapEff"], status["NoNewPrivs"], outcomes]).encode())
os._exit(0)
"""
DANGEROUS_CALLS = """
    accept4 add_key bind bpf chroot clone connect copy_file_range dup execve execveat fanotify_init finit_module fork
    fsopen init_module inotify_init1 io_uring_setup kcmp kexec_load keyctl kill landlock_create_ruleset link linkat
    listen memfd_create mknodat mount mount_setattr name_to_handle_at open open_by_handle_at openat openat2
    perf_event_open personality pidfd_open pidfd_send_signal pivot_root prctl prlimit64 process_vm_readv
    process_vm_writev ptrace renameat2 rt_sigqueueinfo sched_setaffinity seccomp sendmsg sendto setns setrlimit
    setuid shmget socket socketpair splice swapon symlinkat tgkill timer_create truncate umount2 unlink unlinkat
    unshare userfaultfd vfork vmsplice
"""
CALLS = """
import ctypes, errno, json, os, sys
from pyseccomp import Arch, resolve_syscall
from app.registry.sandbox import give_up_rights

numbers = {name: resolve_syscall(Arch.NATIVE, name) for name in sys.argv[1:]}
libc = ctypes.CDLL(None, use_errno=True)
give_up_rights()
outcomes = {}
for name, number in numbers.items():
    outcomes[name] = errno.errorcode[ctypes.get_errno()] if libc.syscall(number, 0, 0, 0, 0, 0, 0) == -1 else "done"
os.write(1, json.dumps(outcomes).encode())
os._exit(0)
"""


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=120)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which everybody may do everything, with a file in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "there").touch()
        (folder / "there").chmod(0o666)
        yield folder


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(params=["current user", "stranger"])
def user(request: pytest.FixtureRequest) -> int:
    """This user, or another without any capability, as a hardened container runs the server."""
    if request.param == "current user":
        return os.getuid()
    if os.getuid() != 0:
        pytest.skip(f"only root can become user {STRANGER}: run the tests as root to check this")
    return STRANGER


def attempted(folder: Path, port: int, user: int, how: str) -> dict[str, str]:
    done = run(ATTEMPTS, folder, port, user, how)
    assert done.returncode == 0, done.stderr.decode()
    uids, effective, no_new_privs, outcomes = json.loads(done.stdout)
    assert set(uids.split()) == {str(user)}
    if user == STRANGER:
        assert int(effective, 16) == 0
        assert int(no_new_privs) == 1
    found: dict[str, str] = outcomes
    return found


def test_the_kernel_refuses_every_attempt(open_folder: Path, port: int, user: int) -> None:
    outcomes = attempted(open_folder, port, user, "confined")
    assert outcomes.pop("start a thread") == "can't start new thread"
    assert outcomes == dict.fromkeys(outcomes, "EPERM")
    assert [path.name for path in open_folder.iterdir()] == ["there"]


def test_with_its_rights_the_same_program_succeeds(open_folder: Path, port: int, user: int) -> None:
    outcomes = attempted(open_folder, port, user, "free")
    assert outcomes.pop("run a program") == "ENOENT"
    assert outcomes == dict.fromkeys(outcomes, "done")
    assert sorted(path.name for path in open_folder.iterdir()) == ["folder", "link", "new"]


def test_no_dangerous_system_call_is_left() -> None:
    dangerous = DANGEROUS_CALLS.split()
    done = run(CALLS, *dangerous, "clone3")
    assert done.returncode == 0, done.stderr.decode()
    outcomes = json.loads(done.stdout)
    assert outcomes.pop("clone3") == "ENOSYS"
    assert outcomes == dict.fromkeys(dangerous, "EPERM")


def test_reading_and_writing_are_left() -> None:
    program = (
        "import os; from app.registry.sandbox import give_up_rights; give_up_rights()\n"
        "os.write(1, os.read(0, 100).upper()); os._exit(len(os.environ))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, input=b"patch", capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, b"PATCH")


def test_the_filter_holds_for_every_thread_and_descriptors_are_closed() -> None:
    program = (
        "import os, threading; from app.registry.sandbox import give_up_rights\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); give_up_rights()\n"
        "os.write(1, b'confined'); os.read(0, 1); os._exit(0)"
    )
    reading, writing = os.pipe()
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[writing]
    ) as process:
        os.close(writing)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(8) == b"confined"
        assert os.read(reading, 1) == b""
        assert process.stderr.read(1) == b""
        assert process.poll() is None
        threads = list(Path(f"/proc/{process.pid}/task").iterdir())
        assert len(threads) >= 2
        for thread in threads:
            status = (thread / "status").read_text()
            assert "NoNewPrivs:\t1\n" in status
            assert "Seccomp:\t2\n" in status
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(60) == 0
    os.close(reading)


def test_memory_is_bounded() -> None:
    program = (
        "import os; from app.registry.sandbox import give_up_rights; give_up_rights(memory_bytes=2**29)\n"
        "small = bytearray(2**20)\n"
        "try: bytearray(2**29)\n"
        "except MemoryError: os.write(1, b'refused')\n"
        "os._exit(0)"
    )
    assert run(program).stdout == b"refused"


def test_processor_time_is_bounded() -> None:
    done = run("from app.registry.sandbox import give_up_rights; give_up_rights(cpu_seconds=1)\nwhile True: pass")
    assert done.returncode == -signal.SIGXCPU


TRY = """
from app.registry.sandbox import SandboxUnavailable, give_up_rights
try:
    give_up_rights()
except SandboxUnavailable as error:
    import os
    os.write(1, str(error).encode())
    os._exit(0)
"""


@pytest.mark.parametrize("call", ["seccomp", "prctl", "prlimit64"])
def test_a_kernel_that_refuses_makes_it_unavailable(call: str) -> None:
    """As an outer sandbox may: the call is forbidden by a filter that is there already."""
    forbid = (
        "from pyseccomp import ALLOW, ERRNO, SyscallFilter\n"
        f"outer = SyscallFilter(ALLOW); outer.add_rule(ERRNO(38), {call!r}); outer.load()\n"
    )
    done = run(forbid + TRY)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b"the kernel refuses to drop privileges: ")


def test_rights_that_are_left_are_noticed() -> None:
    done = run("from app.registry.sandbox import confirm_no_rights; confirm_no_rights()")
    assert b"SandboxUnavailable: the kernel permitted a process without privileges to open a file\n" in done.stderr


def test_a_call_that_fails_for_another_reason_is_not_taken_for_a_refusal() -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (2, 2)); confirm_no_rights()"
    done = run(f"import socket; from app.registry.sandbox import confirm_no_rights; {limited}")
    assert b"SandboxUnavailable: the kernel did not forbid the process to open a file: [Errno 24]" in done.stderr


@pytest.fixture
def without_libseccomp() -> list[str]:
    """The start of a command whose process finds no libseccomp, as on a machine where it is not installed."""
    libraries = sorted(path for folder in ("/lib", "/usr/lib") for path in Path(folder).glob("**/libseccomp.so*"))
    if not libraries or shutil.which("unshare") is None:
        pytest.skip("no libseccomp to hide, or no unshare: install libseccomp2 and util-linux")
    unshare = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    hidden = " && ".join(f"mount --bind /dev/null {path}" for path in {*libraries, Path("/etc/ld.so.cache")})
    command = [*unshare, "sh", "-c", f'{hidden} && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel grants no mount namespace: allow unshare to check this")
    return command


def test_without_libseccomp_nothing_is_vetted(without_libseccomp: list[str], artifact_path: Path) -> None:
    program = (
        "import sys; from app.registry.sandbox import SandboxUnavailable; from app.registry.vetting import vet\n"
        "try:\n"
        "    with open(sys.argv[1], 'rb') as file: print(vet(file, size=file.seek(0, 2)))\n"
        "except SandboxUnavailable as error: print(error)"
    )
    command = [*without_libseccomp, sys.executable, "-c", program, str(artifact_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("libseccomp cannot be loaded, install it (Debian: libseccomp2): ")


def test_a_hardened_container_can_vet(artifact_path: Path) -> None:
    """The whole vetting process as user 10001, with no capability left, and none to be gained."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip(f"only root can become user {STRANGER}, by setpriv from util-linux: run the tests as root")
    dropped = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--clear-groups"]
    stranger = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", *dropped, sys.executable, "-I"]
    if subprocess.run([*stranger, "-c", "import app"], capture_output=True, check=False).returncode:
        pytest.skip(f"user {STRANGER} may not read {sys.executable}: install Python where everybody can read it")
    with artifact_path.open("rb") as file:
        command = [*stranger, "-m", "app.registry.vetting_child"]
        done = subprocess.run(command, stdin=file, capture_output=True, check=False, timeout=120, env={})
    *steps, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert last == "finished"
    assert [step["name"] for step in steps if not step["passed"]] == []
    assert len(steps) > 10
