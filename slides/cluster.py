"""Scores chunks on a Dask cluster with the function of this machine's processes; what comes back is checked.

Access to a cluster equals running code on it, and its workers can run code here: use a cluster of your own.
"""

from __future__ import annotations

import ipaddress
from concurrent.futures import CancelledError, Future
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import distributed.client
import numpy as np
from distributed import Client, KilledWorker, Scheduler, Security, Worker, WorkerPlugin
from numpy.typing import NDArray

from model_zoo.network import Network, check_golden_cases
from slides import certificates, chunkfile
from slides.errors import SlideError
from slides.identity import versions
from slides.opened import Model
from slides.pool import MOST_DEATHS, Job, Pool, Task, hole
from slides.raster import Raster
from slides.reader import Reader
from slides.score import CellArray, Scorer

CONNECT_S = 30
WORKERS_S = 120
PATIENCE_S = 1800.0

_clean_exception = distributed.client.clean_exception


def _with_or_without_traceback(exception: object, traceback: object = None, **others: object) -> object:
    """What the client makes of a reported error.

    A traceback that could not be serialized arrives as text, which the client of distributed 2026.8 refuses; it would
    then wait for the task for ever.
    """
    try:
        return _clean_exception(exception, traceback, **others)
    except AssertionError:
        return _clean_exception(exception, None, **others)


distributed.client.clean_exception = _with_or_without_traceback


class Cluster(Pool):
    """The workers of a Dask cluster.

    Args:
        model: the artifact's bytes, proved on this machine.
        address: of the scheduler: ``tls://host:port``, or ``tcp://127.0.0.1:port`` on this machine.
        tls: folder with ``ca.pem`` (of the site's own CA), ``cert.pem`` and ``key.pem``.

    Raises:
        SlideError: if the address is not accepted, the cluster does not answer, or a worker has other versions.
    """

    _died = KilledWorker
    _patience = PATIENCE_S

    def __init__(self, model: bytes, address: str, tls: Path | None = None) -> None:
        security = security_of(address, tls)
        self._sha256 = sha256(model).hexdigest()
        try:
            self._client = Client(address, timeout=CONNECT_S, security=security, set_as_default=False)
            self._client.wait_for_workers(1, timeout=WORKERS_S)
            self._client.register_plugin(Ready(model))
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            why = certificates.handshake_failure(error, tls) if tls else ""
            raise SlideError(
                f"the cluster {address} cannot be used: {why or str(error) or type(error).__name__}"
            ) from error
        self._processes = len(self._client.nthreads())
        self._ends = self._client.get_executor(pure=False)
        forgiven = self._client.run_on_scheduler(_allowed_failures)
        self._tries = max(1, -(-MOST_DEATHS // (forgiven + 1)))

    def close(self) -> None:
        """Leave the cluster; its workers go on."""
        self._client.close()

    def _expect(self, tasks: int) -> None:
        """The workers are there."""

    def _submit(self, job: Job, task: Task) -> Future[CellArray]:
        size = job.slide.stat().st_size
        found: Future[CellArray] = self._ends.submit(score_there, self._sha256, job, size, task)
        return found

    def _result(self, future: Future[CellArray], task: Task) -> CellArray:
        try:
            answer: object = future.result()
        except CancelledError as error:
            raise SlideError("the cluster no longer answers: start again, and the run goes on where it was") from error
        cells = None
        if isinstance(answer, np.ndarray) and answer.dtype == np.uint8:
            cells = chunkfile.unpack(answer.tobytes(), task.chunk, _identity(self._sha256))
        if cells is None:
            raise SlideError(
                f"a worker sent what are no cells of the chunk at column {task.chunk.column}, row {task.chunk.row} by "
                "this model and these versions: check the cluster's workers"
            )
        return cells

    def _alone(self, job: Job, task: Task) -> CellArray:
        for _ in range(self._tries):
            try:
                return self._result(self._submit(job, task), task)
            except KilledWorker:
                continue
        return hole(task)


class Ready(WorkerPlugin):  # type: ignore[misc]
    """Brings the model to each worker once, and proves it there.

    Args:
        model: the artifact's bytes.
    """

    def __init__(self, model: bytes) -> None:
        self.name = f"rosette-{sha256(model).hexdigest()}"
        self._data = model
        self._versions = versions()

    def setup(self, worker: Worker) -> None:
        """Refuse a worker that would answer differently.

        Raises:
            ValueError: if it has other versions or several threads, or the model fails its golden cases.
        """
        here = versions()
        other = [
            f"{name} {here[name]}, expected {value}" for name, value in self._versions.items() if here[name] != value
        ]
        if other:
            raise ValueError(f"the worker {worker.address} has {'; '.join(other)}: install the same versions")
        if worker.state.nthreads != 1:
            raise ValueError(f"the worker {worker.address} has several threads: start it with --nthreads 1")
        model = Model(self._data, Network(self._data))
        check_golden_cases(model.network)
        _ = model.dense_pass
        _models[model.network.sha256] = model


def security_of(address: str, tls: Path | None) -> Security | None:
    """How the connection is protected.

    Raises:
        SlideError: if the address is neither on this machine nor TLS, or the certificates are missing.
    """
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in {"tcp", "tls"} or not host or port is None:
        raise SlideError(f"--cluster is {address!r}, expected tls://HOST:PORT of the scheduler")
    if scheme == "tcp":
        if not _is_here(host):
            raise SlideError(
                f"{address} is not on this machine, and its connection is not protected: use tls://, and --cluster-tls "
                "with certificates of your own CA"
            )
        return None
    ca, certificate, key = certificates.checked("tls://", tls)
    return Security(tls_ca_file=ca, tls_client_cert=certificate, tls_client_key=key, require_encryption=True)


def score_there(sha256: str, job: Job, size: int, task: Task) -> NDArray[np.uint8]:
    """On a worker: a chunk's cells as :func:`slides.chunkfile.pack` writes them.

    Args:
        size: of the slide's file, in bytes.
    """
    if (found := job.slide.stat().st_size) != size:
        raise SlideError(f"{job.slide} has {found} bytes on a worker, expected {size}: share the same file")
    key = sha256, job
    if key not in _scorers:
        for scorer in _scorers.values():
            scorer.raster.reader.close()
        _scorers.clear()
        _scorers[key] = Scorer(Raster(Reader(job.slide), job.plan), _models[sha256], job.measures)
    cells = _scorers[key].score(task.chunk, task.candidates)
    return np.frombuffer(chunkfile.pack(task.chunk, cells, _identity(_models[sha256].network.sha256)), np.uint8)


_models: dict[str, Model] = {}
_scorers: dict[tuple[str, Job], Scorer] = {}


def _identity(model: str) -> str:
    return f"{model} {sorted(versions().items())}"


def _allowed_failures(dask_scheduler: Scheduler) -> int:
    return int(dask_scheduler.allowed_failures)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
