"""The client in ``client/`` against a real server, also one that is killed and started again."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from PIL import Image

from app.access.caller import Role
from model_zoo.synthetic import synthetic_patch
from model_zoo.turns import Patch
from rosette_client import Answer, AsyncClient, Client, Problem, ProblemError, Unreachable
from rosette_client import Image as AnyImage
from tests.app.conftest import RunningServer, encoded
from tests.processes import KEY, serving
from tests.scale import scaled


def test_every_kind_of_image_gets_the_same_answer(
    server: RunningServer, tumour: Patch, png: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png)
    with Client(server.url, server.key) as client:
        images: list[AnyImage] = [png, file, str(file), tumour, Image.fromarray(tumour)]
        answers = [client.predict(image, rotations="none", case_id="case-7") for image in images]
        assert len({answer.logits for answer in answers}) == 1
        assert len({answer.id for answer in answers}) == len(images)
        read = client.prediction(answers[0].id)
        assert read == answers[0]
        assert (read.decision, read.case_id, read.quality.assessable) == (read.raw["decision"], "case-7", True)
        assert read.consistency.source.count("not_measured") == len(read.consistency.angles_deg) - 1
        assert [each.id for each in client.page(5, case_id="case-7").answers] == [each.id for each in answers[::-1]]
        with pytest.raises(ValueError, match=r"float64 \[96, 96, 3\], expected uint8"):
            client.predict(tumour.astype(np.float64))


def test_batches_report_progress_and_problems_in_place(server: RunningServer, png: bytes) -> None:
    told: list[tuple[int, int]] = []
    with Client(server.url, server.key) as client:
        images = [png, b"no image", png, png, b"neither"]
        results = client.predict_batch(images, batch=2, progress=lambda *done: told.append(done), rotations="none")
        assert told == [(2, 5), (4, 5), (5, 5)]
        assert [type(result) for result in results] == [Answer, Problem, Answer, Answer, Problem]
        assert [result.index for result in results if isinstance(result, Problem)] == [1, 4]
        first = client.predict(png, idempotency_key="client-1", rotations="none")
        assert client.predict(png, idempotency_key="client-1", rotations="none") == first
        covered = client.predict(png, rotations="none", occlusion="report")
        assert covered.raw["occlusion"]["square_px"] == 16


def test_refusals_are_typed(server: RunningServer, png: bytes) -> None:
    with Client(server.url, server.new_key(Role.READ)) as reader:
        with pytest.raises(ProblemError, match="expected admin or pathologist or predict") as refused:
            reader.predict(png)
        assert (refused.value.problem.slug, refused.value.problem.status) == ("forbidden", 403)
    with Client(server.url, server.key) as client:
        with pytest.raises(ProblemError, match="96×96") as refused:
            client.predict(encoded(np.zeros((95, 96, 3), np.uint8)))
        assert refused.value.problem.slug == "wrong-size"
        for no_id in ("../admin/keys", "..", "a?b=c"):
            with pytest.raises(ProblemError):
                client.prediction(no_id)
        with pytest.raises(ValueError, match="strip it") as unfit:
            Client(server.url, f"{server.key}\n")
        assert server.key not in str(unfit.value)
        with pytest.raises(ValueError, match="expected 1 to 256"):
            client.predict_batch([png], batch=257)
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(url, "key", patience_s=0.3) as nobody, pytest.raises(Unreachable, match=url):
        nobody.predict(png)


def test_the_asynchronous_client_does_the_same(server: RunningServer, png: bytes) -> None:
    async def ask() -> None:
        async with AsyncClient(server.url, server.key) as client:
            answer, results = await asyncio.gather(
                client.predict(png, rotations="none"),
                client.predict_batch([png] * 3, batch=2, rotations="none", slide_id="slide-async"),
            )
            assert {each.logits for each in results if isinstance(each, Answer)} == {answer.logits}
            listed = [each.id async for each in client.predictions(slide_id="slide-async")]
            assert listed == [each.id for each in results[::-1] if isinstance(each, Answer)]
            with pytest.raises(ProblemError):
                await client.prediction("no-id")

    asyncio.run(ask())


@pytest.mark.soak
def test_no_patch_is_lost_or_recorded_twice_over_kills(tmp_path: Path, artifact_path: Path) -> None:
    patches, kills, told = 1000, scaled(2, 8), threading.Semaphore(0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, settings = f"http://127.0.0.1:{port}", {"ROSETTE_PORT": str(port), "ROSETTE_ADMIN_KEY": KEY}
    images = [encoded(synthetic_patch("tumour", seed)) for seed in range(10)] * (patches // 10)
    stops = {patches * number // (kills + 1) // 8 * 8 for number in range(1, kills + 1)}

    def progress(done: int, _: int) -> None:
        if done in stops:
            told.release()

    with Client(url, KEY, patience_s=600) as client, ThreadPoolExecutor(1) as thread:
        asked = thread.submit(client.predict_batch, images, batch=8, rotations="none", progress=progress)
        for _ in range(kills):
            with serving(tmp_path / "home", artifact_path, **settings) as server:
                server.wait_until_it_listens()
                assert told.acquire(timeout=300)
                sleep(random.uniform(0, 0.1))  # into any stage of a request
                server.kill()
        with serving(tmp_path / "home", artifact_path, **settings) as server:
            server.wait_until_it_listens()
            ids = [answer.id for answer in asked.result(600) if isinstance(answer, Answer)]
            recorded = [answer.id for answer in client.predictions()]
    assert len(ids) == patches
    assert sorted(recorded) == sorted(ids)
