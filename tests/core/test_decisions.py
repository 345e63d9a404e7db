# SPDX-License-Identifier: Apache-2.0
"""What is said of each image."""

import numpy as np

from bnn_hw.network.decisions import DECISION_COLUMNS, decision_row, decision_text, decisions


def test_winner_and_runner_up() -> None:
    scores = np.array([[-5, 7, 7], [-(2**31), -(2**31), 2**31 - 1]], np.int32)
    first, second = decisions(scores, ["a.png", "b.png"], ["cat", "dog", "bird"])
    assert first == {
        "image": "a.png",
        "class": 1,
        "name": "dog",
        "score": 7,  # of equal ones the lowest
        "runner_up": {"class": 2, "name": "bird", "score": 7},
    }
    assert second["runner_up"] == {"class": 0, "name": "cat", "score": -(2**31)}
    assert decision_row(first) == ("a.png", 1, "dog", 7, 2, "bird", 7)
    assert len(decision_row(first)) == len(DECISION_COLUMNS)
    assert decision_text(first) == ("a.png", "1 dog, score 7; then 2 bird, score 7")


def test_one_class_and_no_names() -> None:
    (decision,) = decisions(np.array([[3]], np.int32), ["image"], None)
    assert decision == {"image": "image", "class": 0, "name": "0", "score": 3, "runner_up": None}
    assert decision_row(decision) == ("image", 0, "0", 3, "", "", "")
    assert decision_text(decision) == ("image", "0 0, score 3")
    assert decisions(np.zeros((0, 3), np.int32), [], None) == []
