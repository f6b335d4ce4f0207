#!/usr/bin/env bash
# tritonclient 2.73.0: the headers of an inference request that its HTTP client sends.
#
# One expects a POST with a body to name its media type: application/json, or application/octet-stream with the binary extension.
# The Open Inference Protocol describes JSON requests, and Triton's documentation shows curl with a Content-Type.
# tritonclient.http sends none at all, with binary data and without: only Content-Length, Host and User-Agent,
# and with binary data Inference-Header-Content-Length, which alone tells the two kinds of body apart.
# It matters for every server of the protocol that checks media types before it reads a body, and for gateways in front of it:
# 415 for the reference client, while hand-made requests with curl or httpx pass in the tests.
# Output seen: "binary: content-type None, inference-header-content-length set", "json: content-type None, not set".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "tritonclient[http]==2.73.0" numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import tritonclient.http as triton

seen = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        seen.append({name.lower(): value for name, value in self.headers.items()})
        output = {"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]}
        body = json.dumps({"model_name": "m", "outputs": [output]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = triton.InferenceServerClient(f"127.0.0.1:{server.server_port}")
for binary in (True, False):
    tensor = triton.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 4), np.float32), binary_data=binary)
    answer = client.infer("m", [tensor], outputs=[triton.InferRequestedOutput("y", binary_data=False)])
    assert answer.as_numpy("y").tolist() == [0.5]
    headers = seen[-1]
    marked = "inference-header-content-length" in headers
    print(
        f"{'binary' if binary else 'json'}: content-type {headers.get('content-type')}, "
        f"inference-header-content-length {'set' if marked else 'not set'}"
    )
    assert "content-type" not in headers, "a media type is sent now: the behaviour has changed"
    assert marked == binary
client.close()
server.shutdown()
PYTHON
