"""Models in NVIDIA Triton: the repository, the backend on a stand-in of Triton's module, and a server of Triton's."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import overpaint
from overpaint import Pipeline
from overpaint.cli import main
from overpaint.errors import InputError
from overpaint.runtime.model.model import Model
from overpaint.serving.service import Service
from overpaint.serving.triton.backend import Backend
from overpaint.serving.triton.repository import TritonModel
from tests.serving.conftest import counting
from tests.support.examples import EXAMPLES
from tests.test_readme import ROOT

PYTHON = "OVERPAINT_TRITON_PYTHON"
PLACES = "import pathlib, pytriton; print(pathlib.Path(pytriton.__file__).parent)"


class Tensor:
    """Triton's."""

    def __init__(self, name: str, values: Any) -> None:
        self.name, self._values = name, values

    def as_numpy(self) -> Any:
        return self._values


class Error(Exception):
    """Triton's TritonError."""

    INVALID_ARG, UNAVAILABLE, INTERNAL, CANCELLED = "INVALID_ARG", "UNAVAILABLE", "INTERNAL", "CANCELLED"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Asked:
    """A request of Triton's, and its response sender."""

    def __init__(self, timeout: int = 0, **inputs: Any) -> None:
        self.inputs = {name: Tensor(name, value) for name, value in inputs.items()}
        self.timeout = lambda: timeout
        self.request_id = lambda: "7"
        self.answers: list[Any] = []
        self.answered = threading.Event()
        self.gone = False

    def get_response_sender(self) -> Any:
        return self

    def send(self, response: Any, flags: int) -> None:
        assert flags == 1
        self.answers.append(response)
        self.answered.set()

    def is_cancelled(self) -> bool:
        return self.gone

    def picture(self) -> Any:
        assert self.answered.wait(30)
        (answer,) = self.answers
        assert answer.error is None, answer.error
        image, parameters = answer.outputs
        assert b"Seed" in parameters.as_numpy()[0]
        return np.asarray(Image.open(BytesIO(image.as_numpy().tobytes())))

    def error(self) -> Error:
        assert self.answered.wait(30)
        (answer,) = self.answers
        assert isinstance(answer.error, Error)
        return answer.error


TRITON = SimpleNamespace(
    Tensor=Tensor,
    TritonError=Error,
    InferenceResponse=lambda outputs=(), error=None: SimpleNamespace(outputs=outputs, error=error),
    TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
    get_input_tensor_by_name=lambda request, name: request.inputs.get(name),
)


def asked(file: bytes, timeout: int = 0, **options: Any) -> Asked:
    text = json.dumps({"seed": 1, "steps": 10, "sampler": "euler_a", **options}).encode()
    inputs = {"image": np.frombuffer(file, np.uint8), "prompt": np.array([b"a"], np.object_)}
    return Asked(timeout, **inputs, strength=np.array([0.7], np.float32), options=np.array([text], np.object_))


@pytest.fixture
def backend(serve: Callable[..., Service]) -> Iterator[Callable[..., Backend]]:
    """Makes a backend on the fake engine, of settings by name."""
    made: list[Backend] = []

    def start(**settings: Any) -> Backend:
        made.append(Backend(serve(**settings), TRITON))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_requests_in_flight_share_calls_and_come_out_as_they_do_alone(
    backend: Callable[..., Backend], model: Model, slow: Callable[[float], None], lone: Pipeline, file: bytes
) -> None:
    slow(0.01)
    requests = [asked(file, seed=seed, steps=10 + seed) for seed in range(4)]
    backend().execute(requests)
    for seed, request in enumerate(requests):
        alone = lone(file, "a", strength=0.7, seed=seed, steps=10 + seed, sampler="euler_a").images[0]
        assert np.array_equal(request.picture(), np.asarray(alone))
    assert max(counting(model.stages.denoiser.engine).rows) >= 4


def test_errors_have_the_servers_words_and_tritons_codes(
    backend: Callable[..., Backend], slow: Callable[[float], None], file: bytes
) -> None:
    slow(0.02)
    made = backend(queue_limit=1)
    for request, words, code in (
        (asked(file, steps="x"), "invalid_input: steps must be", Error.INVALID_ARG),
        (asked(file, nonsense=1), "(field nonsense)", Error.INVALID_ARG),
        (asked(file, strength=0.2), "given twice", Error.INVALID_ARG),
        (asked(file, n=2), "one picture", Error.INVALID_ARG),
        (asked(b"no picture"), "(field image)", Error.INVALID_ARG),
        (Asked(), "image is missing", Error.INVALID_ARG),
        (asked(file, timeout=50_000, steps=500), "timeout: ", Error.UNAVAILABLE),
    ):
        made.execute([request])
        assert words in str(request.error())
        assert request.error().code == code
    first, second = asked(file, steps=500), asked(file)
    made.execute([first])
    while not made._open:
        time.sleep(0.01)
    made.execute([second])
    assert str(second.error()).startswith("busy: ")
    first.gone = True  # its client went away
    assert first.error().code == Error.CANCELLED
    third = asked(file)
    made.execute([third])
    third.picture()


def test_a_repository_has_the_bundle_and_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export-triton", "tiny", str(tmp_path / "models"), "--name", "small", "--setting", "device=cuda"]
    assert main(words) == 0
    folder = tmp_path / "models/small"
    config = (folder / "config.pbtxt").read_text()
    for line in (
        'name: "small"',
        "max_batch_size: 0",
        "kind: KIND_GPU",
        'key: "device" value: { string_value: "cuda" }',
    ):
        assert line in config
    assert overpaint.load(folder / "1/bundle").bundle.model.name == "tiny"
    compile((folder / "1/model.py").read_text(), "model.py", "exec")
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["small"]
    for setting, field in (("prot=1", "prot"), ("host=0.0.0.0", "host"), ("threads=many", "threads"), ("x", "x")):
        assert main([*words[:-1], setting]) == 2
        assert field in capsys.readouterr().err
    with pytest.raises(InputError, match="names no model"):
        TritonModel("../up", folder, {})


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts a server of Triton on a repository and gives its address, once it is ready."""
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} names no Python that has overpaint, nvidia-pytriton and tritonclient")
    home = Path(subprocess.run([python, "-c", PLACES], capture_output=True, text=True, check=True).stdout.strip())
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    backends = tmp_path / "backends"
    shutil.copytree(home / "tritonserver/backends", backends)
    stub = home / f"tritonserver/python_backend_stubs/{version.rpartition('.')[0]}/triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    processes: list[subprocess.Popen[bytes]] = []

    def start(repository: str) -> str:
        ports = [free_port() for _ in range(2)]
        process = subprocess.Popen(
            [
                home / "tritonserver/bin/tritonserver",
                *("--model-repository", repository, "--backend-directory", backends, "--allow-metrics", "false"),
                *("--http-port", str(ports[0]), "--grpc-port", str(ports[1])),
            ],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(home.parent / "nvidia_pytriton.libs"),
                "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
            },
            cwd=tmp_path,
        )
        processes.append(process)
        end = time.monotonic() + 120
        while not ready(f"http://localhost:{ports[0]}/v2/health/ready"):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        return f"localhost:{ports[0]}"

    yield start
    for process in processes:
        process.terminate()
        assert process.wait(60) == 0  # it drained


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def ready(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_a_server_of_triton_paints_what_the_runtime_paints(tmp_path: Path, triton: Callable[[str], str]) -> None:
    repository = str(tmp_path / "models")
    assert main(["export-triton", "tiny", repository, "--setting", "threads=1"]) == 0
    address, fox = triton(repository), str(EXAMPLES[1])
    documents: list[dict[str, Any]] = [
        {"image": fox, "prompt": "fox, ink style", "strength": (2 + seed) / 10, "seed": seed, "steps": 6 + seed}
        for seed in range(6)
    ]
    wrong = [{"image": fox, "steps": 0}, {"image": fox, "verb": "inpaint"}]
    done = subprocess.run(
        [os.environ[PYTHON], ROOT / "tests/support/triton_calls.py", address, "tiny"],
        input=json.dumps([*documents, *wrong]),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout)
    pipe = overpaint.load("tiny", threads=1)
    for document, answer in zip(documents, answers, strict=False):
        options = {name: value for name, value in document.items() if name != "image"}
        alone = pipe(fox, **options).outputs[0]
        made = np.asarray(Image.open(BytesIO(base64.b64decode(answer["image"]))))
        assert np.array_equal(made, np.asarray(alone.image))
        assert answer["parameters"] == alone.parameters
    assert [answer["status"] for answer in answers[-2:]] == ["400", "400"]
    assert "steps" in answers[-2]["error"]
    assert "mask is missing" in answers[-1]["error"]
