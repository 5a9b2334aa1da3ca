"""Whether the Hugging Face Hub can be reached, found out before any heavy library is imported.

Knows nothing of what is fetched from it or sent there.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import threading
import urllib.parse
import urllib.request
from pathlib import Path

from tuner.credentials import masked
from tuner.errors import UserError
from tuner.shelves import user_caches

ENDPOINT = "https://huggingface.co"
WAY_OUT = (
    "pass --data DIR (a folder with GLUE's files) and --model DIR (a saved model) "
    "to do without the Hub"
)
_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks5": 1080, "socks5h": 1080}


def probe_hub(dataset: str | None = None, model: str | None = None, seconds: float = 1.5) -> None:
    """Return where the Hub answers within `seconds`; raise UserError where it does not.

    Goes through the proxy that the environment names, to the host that HF_ENDPOINT names. With
    HF_HUB_OFFLINE set nothing is contacted: `dataset` and `model`, ids on the Hub, must have a
    folder in the local cache. The libraries themselves retry for 23 seconds before they give up.
    """
    if any(_is_set(name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):
        _check_cache(dataset, model)
        return
    problem = _unreachable(seconds)
    if problem is not None:
        raise UserError(
            f"{problem}; {WAY_OUT}, or set HF_HUB_OFFLINE=1 to use what the local cache holds"
        )


def check_upload(seconds: float = 1.5) -> None:
    """Return where the Hub answers within `seconds`; raise UserError where nothing can be sent."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if _is_set(name):
            raise UserError(f"{name} is set, and a push needs the Hub; unset it")
    problem = _unreachable(seconds)
    if problem is not None:
        raise UserError(f"{problem}; push when there is a connection, the model stays where it is")


def _unreachable(seconds: float) -> str | None:
    """Why the Hub does not answer; None where it does."""
    endpoint = os.environ.get("HF_ENDPOINT") or ENDPOINT
    problem = ["no answer"]

    def connect() -> None:
        try:
            _connect(endpoint, seconds)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem[0] = str(error) or type(error).__name__
        else:
            problem.clear()

    # In a thread of its own, as looking up a host's name knows no time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    reasons = tuple(problem)
    if not reasons:
        return None
    return masked(f"cannot reach the Hugging Face Hub at {endpoint} ({reasons[0]})")


def _connect(endpoint: str, seconds: float) -> None:
    target = urllib.parse.urlsplit(endpoint)
    host, port = target.hostname, target.port or _PORTS.get(target.scheme)
    if not host or not port:
        raise ValueError("not a URL such as https://huggingface.co")
    proxies = urllib.request.getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(host):
        socket.create_connection((host, port), seconds).close()
        return
    via = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if not via.hostname:
        raise ValueError("the proxy that the environment names is not a URL")
    via_port = via.port or _PORTS.get(via.scheme, 80)
    if via.scheme != "http" or target.scheme != "https":
        socket.create_connection((via.hostname, via_port), seconds).close()
        return
    # A proxy that answers may still refuse the Hub: ask it for the connection.
    connection = http.client.HTTPConnection(via.hostname, via_port, timeout=seconds)
    connection.set_tunnel(host, port, _authorization(via))
    with contextlib.closing(connection):
        connection.connect()


def _authorization(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = ":".join(urllib.parse.unquote(part or "") for part in (proxy.username, proxy.password))
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}


def _check_cache(dataset: str | None, model: str | None) -> None:
    home = Path(os.path.expanduser(os.environ.get("HF_HOME") or f"{user_caches()}/huggingface"))
    hub = Path(os.path.expanduser(os.environ.get("HF_HUB_CACHE") or home / "hub"))
    built = Path(os.path.expanduser(os.environ.get("HF_DATASETS_CACHE") or home / "datasets"))
    places = []
    if dataset:
        places.append((dataset, built / dataset.replace("/", "___")))
    if model:
        places.append((model, hub / f"models--{model.replace('/', '--')}"))
    for name, folder in places:
        if not folder.is_dir():
            raise UserError(
                f"HF_HUB_OFFLINE is set and {name} is not in the local cache ({folder}); {WAY_OUT}"
            )
