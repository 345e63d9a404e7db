# SPDX-License-Identifier: Apache-2.0
"""What a network says of each image: the class that wins, and the runner-up."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

__all__ = ["DECISION_COLUMNS", "SHOWN_IMAGES", "decision_row", "decision_text", "decisions"]

SHOWN_IMAGES: Final = 20  # up to so many are shown one by one
DECISION_COLUMNS: Final = ("image", "class", "name", "score", "runner-up", "name", "score")


def decisions(scores: np.ndarray, images: Sequence[str], class_names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Returns for each image what it is called, `class`, `name` and `score` of the winner, and these of the `runner_up`.

    `scores`: [images, classes] int32, of which the lowest class among equals leads; `class_names`: None where a class has only
    its number. Without a second class the `runner_up` is None.
    """
    names = class_names or [str(class_) for class_ in range(scores.shape[1])]
    order = np.argsort(-scores.astype(np.int64), axis=1, kind="stable")[:, :2]
    found = []
    for image, row, ranking in zip(images, scores.tolist(), order.tolist(), strict=True):
        first, *rest = ({"class": class_, "name": names[class_], "score": row[class_]} for class_ in ranking)
        found.append({"image": image, **first, "runner_up": rest[0] if rest else None})
    return found


def decision_row(decision: Mapping[str, Any]) -> tuple[object, ...]:
    """Returns the cells of a decision below `DECISION_COLUMNS`."""
    second = decision["runner_up"] or {}
    return (decision["image"], *(each.get(field, "") for each in (decision, second) for field in ("class", "name", "score")))


def decision_text(decision: Mapping[str, Any]) -> tuple[str, str]:
    """Returns what the image is called, and the decision as text: 3 cat, score 12; then 5 dog, score 7."""
    ranking = (decision, decision["runner_up"])
    texts = [f"{each['class']} {each['name']}, score {each['score']}" for each in ranking if each]
    return decision["image"], "; then ".join(texts)
