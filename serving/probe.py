"""Whether a server of these settings is well, asked as an operator's tool would."""

from __future__ import annotations

import urllib.error
import urllib.request

from .settings import Settings

SECONDS = 5.0


def probe(settings: Settings) -> str:
    """What /healthz says: "" where all is well, else the cause. It brings the first key."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    place = f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"
    headers = {"authorization": f"Bearer {settings.api_keys[0]}"} if settings.api_keys else {}
    if settings.hosts:
        headers["host"] = settings.hosts[0]
    call = urllib.request.Request(f"http://{place}/healthz", headers=headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(call, timeout=SECONDS):
            return ""
    except urllib.error.HTTPError as exc:
        return exc.read().decode("utf-8", "replace")[:1000] or str(exc)
    except OSError as exc:
        return f"nothing answers at {place} ({exc})"
