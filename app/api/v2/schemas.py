"""What OpenAPI says of the protocol's bodies."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from app.api.v2.tensors import HEAD_LENGTH, MAX_ID, MAX_JSON_PATCHES, MAX_PATCHES


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1 stands for the number of patches.")


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerLive(BaseModel):
    live: bool = True


class ServerReady(BaseModel):
    ready: bool = True


class ModelReady(BaseModel):
    name: str
    ready: bool


class ResponseTensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float | str | None] | None = Field(None, description="Flat; missing if the tensor is binary.")


class InferenceResponse(BaseModel):
    """In binary, the tensors follow this JSON, whose length the header `Inference-Header-Content-Length` states."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseTensor]


_BYTES = {"type": "string", "format": "binary"}
_INPUT = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"const": "patches"},
        "shape": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
        "datatype": {"const": "UINT8"},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}, "description": f"At most {MAX_JSON_PATCHES} patches, flat or nested."},
    },
}
_OUTPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
}
_REQUEST = {
    "type": "object",
    "title": "InferenceRequest",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": MAX_ID},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _INPUT, "minItems": 1, "maxItems": 1},
        "outputs": {"type": "array", "items": _OUTPUT},
    },
}
REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"JSON; or JSON and up to {MAX_PATCHES} patches in binary, with the header `{HEAD_LENGTH}`.",
        "content": {
            "application/json": {"schema": _REQUEST},
            "application/octet-stream": {"schema": _BYTES},
        },
    }
}
BINARY: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {"schema": _BYTES}}}}
