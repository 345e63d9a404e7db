# SPDX-License-Identifier: Apache-2.0
"""All that is to be known of a GPU, in one command of under ten minutes, the most worthwhile first.

    PYTHONPATH=.:gpu:tests python3 gpu/first_run.py --out DIR

needs nothing installed of this project. Each step is a process of its own with a limit of time; what it says is in DIR as it
comes, and its outcome in DIR/first_run.json and .md as soon as it is there. A step that hangs is killed, and those after it do
without a part of Hopper: clusters, kernels that overlap, or wgmma. ``--variants`` times variants of the products instead.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
FEATURES: Final = ("clusters", "overlap", "wgmma")  # in the order in which they are done without
_STEPS: Final = [sys.executable, "-u", "-m", "bnn_gpu.first_steps"]
_PYTEST: Final = [sys.executable, "-u", "-m", "pytest", "-o", "addopts=", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
_TESTS: Final = ["tests/gpu/test_device.py", "tests/gpu/test_real.py", "tests/gpu/test_torch_op.py"]


@dataclass(frozen=True)
class Step:
    """A command, its limit, and what of Hopper it is about: that is done without where it hangs or fails."""

    name: str
    command: Callable[[Path], Sequence[str]]
    limit_s: float
    about: str = ""
    needs: str = ""  # a program
    options: bool = True  # takes --without; tests take BNN_GPU_WITHOUT


@dataclass
class Outcome:
    """What came of a step: passed, failed, hung (no output for too long), stopped (at its limit), or not run."""

    name: str
    outcome: str
    elapsed_s: float = 0.0
    last: str = ""
    without: list[str] = field(default_factory=list)
    log: str = ""


def _step(*arguments: str) -> Callable[[Path], Sequence[str]]:
    return lambda out: [*_STEPS, *(argument.replace("DIR", str(out)) for argument in arguments)]


def _sanitizer(tool: str) -> Callable[[Path], Sequence[str]]:
    return lambda out: ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *_STEPS, "products"]


STEPS: Final = (
    Step("issue rate", _step("issue-rate"), 60, "wgmma"),
    Step("products, a block by itself", _step("products", "--clusters", "1"), 60, "wgmma"),
    Step("products, clusters of 2", _step("products", "--clusters", "2"), 60, "clusters"),
    Step("a network, kernels that overlap", _step("networks"), 60, "overlap"),
    Step("quick benchmark", _step("benchmark", "--quick", "--out", "DIR/quick"), 150),
    Step("real tests", lambda out: [*_PYTEST, *_TESTS], 150, options=False),
    Step("benchmark of products", _step("benchmark", "--part", "products", "--out", "DIR/products"), 240),
    Step("benchmark of networks", _step("benchmark", "--part", "networks", "--out", "DIR/networks"), 120),
    Step("memcheck of products", _sanitizer("memcheck"), 120, needs="compute-sanitizer"),
    Step("racecheck of products", _sanitizer("racecheck"), 120, needs="compute-sanitizer"),
)
VARIANTS: Final = (Step("variants", _step("variants"), 300, "wgmma"),)


def first_run(out: Path, steps: Sequence[Step], limit_s: float, quiet_s: float) -> list[Outcome]:
    """Runs the steps within `limit_s` in all; one that says nothing for `quiet_s` hangs. Writes what came of each as it comes."""
    out.mkdir(parents=True, exist_ok=True)
    end, outcomes, without = monotonic() + limit_s, list[Outcome](), list[str]()
    for number, step in enumerate(steps, 1):
        log = out / f"{number:02}-{step.name.replace(',', '').replace(' ', '-')}.log"
        outcome = _run(step, out, log, min(step.limit_s, end - monotonic()), quiet_s, without)
        outcomes.append(outcome)
        _write(out, outcomes)
        print(f"{outcome.name}: {outcome.outcome}, {outcome.elapsed_s:.1f} s  {outcome.last}", flush=True)
        left = [feature for feature in FEATURES if feature not in without]
        if step.about in left and outcome.outcome in ("failed", "hung"):
            without.append(step.about)
        elif outcome.outcome == "hung" and left:
            without.append(left[0])
    return outcomes


def _run(step: Step, out: Path, log: Path, limit_s: float, quiet_s: float, without: list[str]) -> Outcome:
    program = shutil.which(step.needs, path=f"{os.environ.get('PATH', '')}:/usr/local/cuda/bin") if step.needs else None
    if step.needs and program is None:
        return Outcome(step.name, "not run", last=f"{step.needs} is not installed")
    if limit_s < 1:
        return Outcome(step.name, "not run", last="no time is left")
    if step.about in without:
        return Outcome(step.name, "not run", last=f"this run does without {step.about}")
    command = list(step.command(out))
    if program:
        command[0] = program
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if step.options:
        command += [word for feature in without for word in ("--without", feature)]
    else:
        environment["BNN_GPU_WITHOUT"] = ",".join(without)
    start = monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            ended = _watch(process, log, limit_s, limit_s if step.needs else quiet_s)
        finally:
            _kill(process)
    last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
    return Outcome(step.name, ended, round(monotonic() - start, 1), *last or [""], list(without), log.name)


def _watch(process: "subprocess.Popen[bytes]", log: Path, limit_s: float, quiet_s: float) -> str:
    """Returns what becomes of a process: passed, failed, hung or stopped; the last two are still to be killed."""
    start = said = monotonic()
    size = 0
    while (code := process.poll()) is None:
        now = monotonic()
        if log.stat().st_size > size:
            size, said = log.stat().st_size, now
        if now - said > quiet_s:
            return "hung"
        if now - start > limit_s:
            return "stopped"
        sleep(0.1)
    return "passed" if code == 0 else "failed"


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Ends a step's process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _write(out: Path, outcomes: list[Outcome]) -> None:
    lines = ["| step | outcome | s | without | last line |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        cells = (
            outcome.name,
            outcome.outcome,
            f"{outcome.elapsed_s:.1f}",
            ", ".join(outcome.without),
            outcome.last.replace("|", "/"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    for name, text in (("json", json.dumps([asdict(outcome) for outcome in outcomes], indent=2)), ("md", "\n".join(lines))):
        part = out / f"first_run.{name}.part"
        part.write_text(text + "\n")
        part.replace(out / f"first_run.{name}")


def main() -> None:
    """Runs all steps, or those named, and leaves with 0 where all have passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--limit", type=float, default=570.0, help="seconds for all steps (default: %(default)s)")
    parser.add_argument(
        "--quiet", type=float, default=45.0, help="seconds without output after which a step hangs (default: %(default)s)"
    )
    parser.add_argument(
        "--only", action="append", choices=[step.name for step in STEPS], help="a step, instead of all; can be repeated"
    )
    parser.add_argument("--variants", action="store_true", help="time variants of the products against one another instead")
    arguments = parser.parse_args()
    steps = (
        list(VARIANTS) if arguments.variants else [step for step in STEPS if arguments.only is None or step.name in arguments.only]
    )
    outcomes = first_run(arguments.out.resolve(), steps, arguments.limit, arguments.quiet)
    if arguments.variants:
        print((arguments.out / outcomes[0].log).read_text(), end="")
    sys.exit(any(outcome.outcome != "passed" for outcome in outcomes))


if __name__ == "__main__":
    main()
