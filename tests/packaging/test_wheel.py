"""What is shipped: the wheel, installed where nothing of the checkout is in reach, and no extra."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANALYZE = "analyze --model vicuna-7b --hw v100 --quant int4 --visual-tokens 40"


def run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by way of the sdist, which therefore holds all that a build needs."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin/ of an environment that has the wheel and what it depends on."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python")]
    options = ["-q", "--no-compile", "-c", str(ROOT / "constraints.txt")]  # compiling takes longest
    run(*pip, "install", *options, wheel, cwd=home)
    return home / "bin"


def test_the_wheel_holds_data_types_and_license(wheel: Path) -> None:
    data = {
        f"roofline/data/{kind}/{path.name}"
        for kind in ("hardware", "models")
        for path in (ROOT / kind).glob("*.yaml")
    }
    laws = {f"roofline/data/hardware/laws/{p.name}" for p in (ROOT / "hardware/laws").iterdir()}
    package = ROOT / "roofline/data"
    data |= laws | {f"roofline/data/{path.name}" for path in package.iterdir() if path.is_file()}
    assert {
        "roofline/data/hardware/v100.yaml",
        "roofline/data/hardware/laws/a100-80gb.json",
        "roofline/data/quantization.yaml",
        "roofline/data/borrowing_errors.json",
    } < data

    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert data | {"roofline/py.typed"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_analyzes_anywhere(installed: Path, tmp_path: Path) -> None:
    roofline, arguments = installed / "roofline", ANALYZE.split()

    table = run(roofline, *arguments, cwd=tmp_path)
    record = json.loads(run(roofline, *arguments, "--format", "json", cwd=tmp_path))

    assert "Prefill time" in table
    assert "typical for this architecture" in table  # laws are found, those of relatives too
    assert record["end_to_end"]["roofline_time_s"] > 0


def test_the_wheel_lists_its_hardware(installed: Path, tmp_path: Path) -> None:
    assert "v100" in run(installed / "roofline", "hardware", cwd=tmp_path)


def test_the_core_does_without_torch(installed: Path, tmp_path: Path) -> None:
    find = "from importlib.util import find_spec; print(find_spec('torch'))"
    assert run(installed / "python", "-c", find, cwd=tmp_path) == "None\n"
