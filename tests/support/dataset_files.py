# SPDX-License-Identifier: Apache-2.0
"""Data sets' files for tests: their bytes, written to a folder, and served by a web server of the test's own."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from bnn_hw.datasets import Dataset, load_dataset
from bnn_hw.errors import ArtefactError

__all__ = ["idx", "published", "serve", "serve_cut", "write"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


class _Cut(BaseHTTPRequestHandler):
    """Promises more than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"\x1f\x8b")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def idx(array: np.ndarray) -> bytes:
    """Returns an IDX file of unsigned bytes."""
    extents = b"".join(extent.to_bytes(4, "big") for extent in array.shape)
    return bytes([0, 0, 8, array.ndim]) + extents + array.tobytes()


def published(name: str) -> Dataset:
    """Returns a published data set from where BNN_HW_DATA says that data lie, as the commands do; skips the test without it."""
    folder = os.environ.get("BNN_HW_DATA")
    if not folder:
        pytest.skip("BNN_HW_DATA names no folder of data")
    try:
        return load_dataset(name, Path(folder), Path())
    except ArtefactError as error:
        pytest.skip(f"BNN_HW_DATA does not hold {name}: {error}")


def write(folder: Path, name: str, content: bytes) -> Path:
    """Writes a file, and its folder where there is none; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serves the files of `folder`; gives their URL, which ends in a slash."""
    with _server(partial(_Quiet, directory=str(folder))) as url:
        yield url


@contextmanager
def serve_cut() -> Iterator[str]:
    """Serves only beginnings of files; gives their URL."""
    with _server(_Cut) as url:
        yield url


@contextmanager
def _server(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
