"""Calls of a Triton server, by its own client, in the environment that has that: documents in, answers out, as JSON.

    python triton_calls.py HOST:PORT MODEL < documents.json

Each document's "image" is a path; "prompt" and "strength" are inputs, what else there is goes into "options". All are
sent at once.
"""

import base64
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException


def call(address: str, model: str, document: dict[str, Any]) -> dict[str, Any]:
    image = np.frombuffer(Path(document.pop("image")).read_bytes(), np.uint8)
    inputs = [filled("image", "UINT8", image)]
    if "prompt" in document:
        inputs.append(filled("prompt", "BYTES", text(document.pop("prompt"))))
    if "strength" in document:
        inputs.append(filled("strength", "FP32", np.array([document.pop("strength")], np.float32)))
    if document:
        inputs.append(filled("options", "BYTES", text(json.dumps(document))))
    try:
        answer = InferenceServerClient(address, network_timeout=120).infer(model, inputs)
    except InferenceServerException as exc:
        return {"status": exc.status(), "error": exc.message()}
    return {
        "image": base64.b64encode(answer.as_numpy("image").tobytes()).decode(),
        "parameters": answer.as_numpy("parameters")[0].decode(),
    }


def filled(name: str, kind: str, values: Any) -> InferInput:
    made = InferInput(name, list(values.shape), kind)
    made.set_data_from_numpy(values)
    return made


def text(value: str) -> Any:
    return np.array([value.encode()], dtype=np.object_)


if __name__ == "__main__":
    documents = json.load(sys.stdin)
    with ThreadPoolExecutor(len(documents)) as threads:
        json.dump(list(threads.map(lambda each: call(*sys.argv[1:3], each), documents)), sys.stdout)
