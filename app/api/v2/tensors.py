"""Requests and responses of the Open Inference Protocol as bytes, with the extension for binary tensors.

Pure functions; every length is checked before anything of that length is allocated.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from app.diagnosis.raw import PIXEL_BYTES, RawPixels
from app.problems import InvalidInference
from model_zoo.turns import SIDE

HEAD_LENGTH = "Inference-Header-Content-Length"
INPUT, SHAPE = "patches", (SIDE, SIDE, 3)
MAX_PATCHES, MAX_JSON_PATCHES = 256, 8
MAX_HEAD, MAX_JSON = 2**16, 2**22
MAX_ID = 256
SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
# What clients add to describe Python types; it says nothing of the pixels.
_IGNORED = frozenset({"content_type", "headers", ALL_BINARY})

Datatype = Literal["FP32", "FP64", "BYTES"]
OUTPUTS: dict[str, tuple[Datatype, tuple[int, ...]]] = {
    "logits": ("FP32", (2,)),
    "probability": ("FP64", ()),
    "decision": ("BYTES", ()),
    "prediction_id": ("BYTES", ()),
}

_Byte = Annotated[int, Meta(ge=0, le=255)]
_Pixel = Annotated[list[_Byte], Meta(min_length=3, max_length=3)]
_Line = Annotated[list[_Pixel], Meta(min_length=SIDE, max_length=SIDE)]
_Image = Annotated[list[_Line], Meta(min_length=SIDE, max_length=SIDE)]
_flat = msgspec.json.Decoder(Annotated[list[_Byte], Meta(max_length=MAX_JSON_PATCHES * PIXEL_BYTES)])
_nested = msgspec.json.Decoder(Annotated[list[_Image], Meta(max_length=MAX_JSON_PATCHES)])


class _Input(Struct):
    name: str
    shape: Annotated[list[int], Meta(max_length=8)]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Raw | UnsetType = UNSET


class _Output(Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(Struct):
    inputs: Annotated[list[_Input], Meta(max_length=8)]
    id: Annotated[str, Meta(max_length=MAX_ID)] | None = None
    parameters: dict[str, Any] | None = None
    outputs: Annotated[list[_Output], Meta(max_length=16)] | None = None


@dataclass(frozen=True)
class Asked:
    """What a request asks, without its pixels.

    Attributes:
        patches: how many there are.
        parameters: those of ``POST /predict``, not yet judged.
        outputs: names, and whether each comes in binary.
        id: the caller's own, which the response repeats.
    """

    patches: int
    parameters: dict[str, Any]
    outputs: dict[str, bool]
    id: str | None


def head_length(text: str, content_length: str) -> tuple[int, int]:
    """How many bytes of a body are its JSON, and how many are its tensors.

    Raises:
        InvalidInference: if the two headers do not fit each other, or the bounds.
    """
    if not content_length.isdecimal():
        raise InvalidInference("A body with binary tensors needs a Content-Length: do not send it in chunks.")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidInference(f"The header {HEAD_LENGTH} is no number of bytes.")
    head, rest = int(text), int(content_length) - int(text)
    if not 2 <= head <= MAX_HEAD or rest < 0:
        raise InvalidInference(
            f"The header {HEAD_LENGTH} states {head} bytes of JSON, expected 2 to {MAX_HEAD} and at most the "
            f"{content_length} bytes of the body."
        )
    return head, rest


def parse_binary(head: bytes, rest: int) -> Asked:
    """What a request asks whose tensor follows in binary.

    Args:
        head: the JSON.
        rest: bytes that follow it.

    Raises:
        InvalidInference: if it is not the protocol, or the shape, the size and the bytes that follow differ.
    """
    request, tensor = _read(head)
    patches = _patches(tensor, MAX_PATCHES)
    size = (tensor.parameters or {}).get(SIZE)
    if tensor.data is not UNSET or size is None:
        raise InvalidInference(f"The input {INPUT} is not in binary: its parameters lack {SIZE}, or it has data too.")
    if type(size) is not int or not size == rest == patches * PIXEL_BYTES:
        raise InvalidInference(
            f"The input {INPUT} has {patches} patches of {PIXEL_BYTES} bytes, its {SIZE} is {size!r:.20}, and {rest} "
            "bytes follow the JSON: the three must agree."
        )
    return _asked(request, patches)


def parse_json(body: bytes) -> tuple[Asked, list[RawPixels]]:
    """What a request in JSON asks, and its patches; takes milliseconds, so call it in a thread.

    Raises:
        InvalidInference: if it is not the protocol, or the shape and the data differ.
    """
    request, tensor = _read(body)
    patches = _patches(tensor, MAX_JSON_PATCHES)
    if tensor.data is UNSET:
        raise InvalidInference(
            f"The input {INPUT} has no data; with binary tensors, send the header {HEAD_LENGTH} as well."
        )
    text = bytes(tensor.data)
    try:
        flat = text.lstrip()[1:].lstrip()[:1] != b"["
        found = np.array(_flat.decode(text) if flat else _nested.decode(text), np.uint8)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInference(f"The data of the input {INPUT} is not numbers from 0 to 255: {error}.") from None
    if found.size != patches * PIXEL_BYTES:
        raise InvalidInference(
            f"The input {INPUT} has {found.size} values, expected {patches * PIXEL_BYTES} for {patches} patches."
        )
    return _asked(request, patches), split(memoryview(found.tobytes()))


def split(pixels: memoryview) -> list[RawPixels]:
    """The patches of a tensor's bytes."""
    return [RawPixels(pixels[begin : begin + PIXEL_BYTES]) for begin in range(0, len(pixels), PIXEL_BYTES)]


def _read(text: bytes) -> tuple[_Request, _Input]:
    try:
        request = msgspec.json.decode(text, type=_Request)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidInference(f"The body is no inference request of the protocol: {error}.") from None
    if len(request.inputs) != 1 or request.inputs[0].name != INPUT:
        raise InvalidInference(f"Expected exactly one input, which is called {INPUT}.")
    return request, request.inputs[0]


def _patches(tensor: _Input, most: int) -> int:
    shape = tuple(tensor.shape)
    if tensor.datatype != "UINT8" or shape[1:] != SHAPE or not 1 <= shape[0] <= most:
        raise InvalidInference(
            f"The input {INPUT} is {tensor.datatype:.10} {list(shape)!s:.80}, expected UINT8 [N, {SIDE}, {SIDE}, 3] "
            f"with N from 1 to {most}" + ("" if most == MAX_PATCHES else f" ({MAX_PATCHES} as a binary tensor)") + "."
        )
    return shape[0]


def _asked(request: _Request, patches: int) -> Asked:
    parameters = request.parameters or {}
    everything = parameters.get(ALL_BINARY) is True
    outputs: dict[str, bool] = {}
    for wanted in request.outputs or [_Output(name) for name in OUTPUTS]:
        if wanted.name not in OUTPUTS or wanted.name in outputs:
            raise InvalidInference(f"The outputs are {', '.join(OUTPUTS)}: ask for each of them at most once.")
        outputs[wanted.name] = (wanted.parameters or {}).get(BINARY, everything) is True
    asked = {name: value for name, value in parameters.items() if name not in _IGNORED}
    return Asked(patches, asked, outputs, request.id)


def encode(head: dict[str, Any], values: dict[str, list[Any]], outputs: dict[str, bool]) -> tuple[bytes, int | None]:
    """A response's body, and the length of its JSON if binary tensors follow it.

    Args:
        head: the response without its outputs.
        values: of each output, one for each patch; logits are two.
        outputs: names, and whether each comes in binary.
    """
    described, tensors = [], []
    for name, binary in outputs.items():
        datatype, shape = OUTPUTS[name]
        found = values[name]
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(found), *shape]}
        if binary:
            tensors.append(_bytes_of(datatype, found))
            tensor["parameters"] = {SIZE: len(tensors[-1])}
        else:
            tensor["data"] = _listed(found)
        described.append(tensor)
    text = json.dumps(head | {"outputs": described}, allow_nan=False).encode()
    return b"".join((text, *tensors)), len(text) if tensors else None


def _bytes_of(datatype: Datatype, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(text)) + text for text in (value.encode() for value in values))
    return np.array(values, "<f4" if datatype == "FP32" else "<f8").tobytes()


def _listed(values: Sequence[Any]) -> list[Any]:
    """Flat, with null for what is not a number."""
    flat = [each for value in values for each in (value if isinstance(value, tuple) else (value,))]
    return [None if isinstance(each, float) and isnan(each) else each for each in flat]
