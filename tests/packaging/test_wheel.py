"""What people install: built as a release is, installed without a checkout, run from elsewhere."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
# Python 3.11 knows filters from its fourth bugfix on.
SAFELY: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
pytestmark = pytest.mark.packaging


@dataclass(frozen=True)
class Place:
    """A virtual environment outside the checkout, and a folder to work in."""

    environment: Path
    folder: Path

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def run(self, *command: str | Path, database: Path | None = None) -> str:
        """Standard output of a command that is expected to succeed."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RUNWARD"))}
        if database is not None:
            kept["RUNWARD_DATABASE_URL"] = f"sqlite:///{database}"
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=kept,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runward(self, *words: str, database: Path | None = None) -> str:
        """The installed command."""
        return self.run(self.environment / "bin" / "runward", *words, database=database)

    def importable(self, module: str) -> bool:
        """Whether an import would find the module."""
        asked = f"import importlib.util as u; print(u.find_spec({module!r}) is not None)"
        return self.run(self.python, "-c", asked).strip() == "True"

    def install(self, *arguments: str | Path) -> None:
        """pip install into this place, with our own pip."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check"]
        self.run(*pip, "install", "--quiet", *arguments)


def make_place(folder: Path) -> Place:
    """An empty environment."""
    venv.create(folder / "environment", with_pip=False, symlinks=True)
    work = folder / "work"
    work.mkdir()
    return Place(folder / "environment", work)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(
        [*build, str(CHECKOUT)], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The wheel with the dependencies that it names, and nothing else."""
    place = make_place(tmp_path_factory.mktemp("installed"))
    # What is not imported need not be compiled.
    place.install("--no-compile", built[1], "--constraint", CHECKOUT / "constraints.txt")
    return place


@pytest.fixture(scope="module")
def checkout(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An editable install of the unpacked sdist, borrowing our own dependencies."""
    folder = tmp_path_factory.mktemp("checkout")
    with tarfile.open(built[0]) as archive:
        archive.extractall(folder, **SAFELY)
    (unpacked,) = folder.glob("runward-*")
    place = make_place(folder)
    borrowed = place.environment / "lib" / f"python{sysconfig.get_python_version()}"
    (borrowed / "site-packages" / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    place.install("--no-deps", "--no-build-isolation", "--editable", unpacked)
    return Place(place.environment, unpacked)


def names(wheel: Path) -> list[str]:
    """The files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def required(wheel: Path) -> Sequence[str]:
    """What the wheel requires without any extra, by name."""
    lines = metadata(wheel).get_all("Requires-Dist") or []
    return [re.split(r"[^\w-]", line)[0].lower() for line in lines if "extra ==" not in line]


def test_the_wheel_holds_the_package_alone(built: tuple[Path, Path]) -> None:
    """A top-level `cli`, `tests` or `migrations` in site-packages collides with other people's."""
    found = names(built[1])
    assert {name.split("/")[0].split("-")[0] for name in found} == {"ledger", "runward"}
    assert "ledger/migrations/env.py" in found
    assert any(re.fullmatch(r"ledger/migrations/versions/0001_\w+\.py", name) for name in found)
    inside = {Path(name).suffix for name in found if name.startswith("ledger/")}
    assert inside <= {".py", ".typed", ".mako", ".toml", ".j2"}
    assert "ledger/prices.toml" in found
    assert "ledger/py.typed" in found


def test_the_metadata_names_the_licence(built: tuple[Path, Path]) -> None:
    """The expression, and the file that goes with it."""
    assert metadata(built[1])["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("/licenses/LICENSE") for name in names(built[1]))


def test_no_web_framework_is_required(built: tuple[Path, Path]) -> None:
    """A ledger inside a program must not choose that program's web framework. aiohttp is the client
    of the thin read here."""
    found = required(built[1])
    assert "sqlmodel" in found
    assert not {"fastapi", "starlette", "flask", "uvicorn"} & set(found)


def test_an_installed_command_works_from_anywhere(installed: Place) -> None:
    """Only what the wheel names is there, and the migrations are found inside the package.

    One test, because the install takes the longest of all and must not be done once a worker.
    """
    database = installed.folder / "runs.db"
    assert installed.runward("version").strip()
    assert "Usage" in installed.runward("--help")
    installed.runward("db", "upgrade", database=database)
    installed.runward("db", "check", database=database)
    assert database.stat().st_size > 0
    assert installed.importable("ledger.core")
    assert not any(map(installed.importable, ("cli", "tests", "migrations", "benchmarks")))


def test_an_editable_install_copies_nothing(checkout: Place) -> None:
    """One line of path: no stale second copy of the migrations can ever be imported."""
    place = checkout.run(checkout.python, "-c", "import ledger; print(ledger.__file__)")
    assert Path(place.strip()).is_relative_to(checkout.folder)
    (site,) = checkout.environment.glob("lib/python*/site-packages")
    assert not (site / "ledger").exists()


def test_a_checkout_has_a_front_door(checkout: Place, tmp_path: Path) -> None:
    """`python cli.py` is `runward`."""
    version = checkout.run(checkout.python, "cli.py", "version")
    assert version == checkout.runward("version")
    checkout.run(checkout.python, "cli.py", "db", "upgrade", database=tmp_path / "runs.db")
    checkout.run(checkout.python, "cli.py", "db", "check", database=tmp_path / "runs.db")
