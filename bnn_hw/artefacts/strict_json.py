# SPDX-License-Identifier: Apache-2.0
"""JSON as artefacts have it, read strictly: no key twice, no number that is none, and the version that goes before the rest."""

import json
import math
import reprlib
from typing import Any, NamedTuple, NoReturn

__all__ = ["Envelope", "read_envelope", "read_json"]


class Envelope(NamedTuple):
    """An artefact's description: its format and version, None where it has none, and the fields beside them."""

    format: Any
    version: Any
    fields: dict[str, Any]


def read_envelope(text: str) -> Envelope:
    """Returns what a description says. Raises `ValueError` where it is no JSON object."""
    try:
        fields = read_json(text)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(fields, dict):
        raise ValueError("it must be a JSON object")
    return Envelope(fields.pop("format", None), fields.pop("version", None), fields)


def read_json(text: str) -> Any:
    """Returns the value of a JSON text. Raises `ValueError` where it is none, `RecursionError` where it is nested too deep."""
    return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_distinct)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _finite(digits: str) -> float:
    return float(digits) if math.isfinite(float(digits)) else _refuse(digits)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError(f"the keys {reprlib.repr([key for key, _ in pairs])} must differ")
    return dict(pairs)
