"""No library that we import reports on its user: OpenVINO's, NNCF's and ONNX Runtime's telemetry are off by default."""

from __future__ import annotations

import os
import sys

# "1" leaves the libraries as they come.
ALLOW = "OVERPAINT_TELEMETRY"
# The libraries' own switches, of those that have one; a value that the user has set stays.
SWITCHES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
# OpenVINO and NNCF have no switch but a file in the home folder; without this package they send nothing.
SENDER = "openvino_telemetry"


def disable() -> None:
    """Turn telemetry off in this process; has to come before the libraries are imported."""
    if os.environ.get(ALLOW) == "1":
        return
    for switch in SWITCHES:
        os.environ.setdefault(switch, "1")
    if SENDER not in sys.modules:
        sys.modules[SENDER] = None  # type: ignore[assignment]  # Python's way to have an import raise ImportError
