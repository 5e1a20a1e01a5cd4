"""Play a schedule: start lives, let the world happen to them, and see what the ledger says then."""

from __future__ import annotations

import functools
import hashlib
import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger import clock, entropy
from ledger.fuzzing import checks, evidence
from ledger.fuzzing.console import Console
from ledger.fuzzing.loop import Scheduler, VirtualClock
from ledger.fuzzing.post import ENDPOINT, Post, Signer
from ledger.fuzzing.process import LEASE_SECONDS, OPTIONS, Process
from ledger.fuzzing.schedule import Break, Command, Crash, Jump, Pause, Schedule, Submit
from ledger.fuzzing.seams import Mortal, unwatched
from ledger.fuzzing.tooling import BOOKS, Effects
from ledger.fuzzing.world import World
from ledger.service.options import Options
from ledger.simulator.scenario import Scenario
from ledger.simulator.webhook_settings import WebhookSettings

LIMIT_SECONDS: Final = 3 * 86_400.0
"""Nothing that is asked for here may take longer than this, in virtual time."""
SEALED_WITHIN_SECONDS: Final = 300.0
"""After the last run is over; somebody may be paused until then."""
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder in memory is quicker, no secret
DURATIONS: Final = {"queued": 0.5, "in_progress": 3.0, "slow": 40.0, "expire": 6.0, "vanish": 3.0}
log = logging.getLogger("runward")


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of a schedule. No problems: the ledger kept every promise."""

    schedule: Schedule
    problems: tuple[str, ...]
    events: int
    points: int
    requests: int
    deaths: int
    digest: str

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return not self.problems


class Stage:
    """One play in the making."""

    durations: Mapping[str, float] = DURATIONS
    requests_per_minute: int | None = None
    options: Options = OPTIONS
    lease_seconds: float = LEASE_SECONDS

    def __init__(self, schedule: Schedule, folder: Path) -> None:
        self.schedule, self.folder = schedule, folder
        rng = random.Random(f"play:{schedule.seed}")  # noqa: S311 - a seed's choice
        self._rng = rng
        self.clock = VirtualClock()
        self.scheduler = Scheduler(self.clock, random.Random(rng.random()))  # noqa: S311
        told = schedule.webhooks
        scenario = Scenario(
            seed=schedule.seed % 1_000_000,
            durations=self.durations,
            requests_per_minute=self.requests_per_minute,
            webhooks=told or WebhookSettings(),
        )
        endpoints, self.signer = [ENDPOINT] if told else [], Signer()
        dice = random.Random(rng.random())  # noqa: S311 - a seed's choice
        self.world = World(self.scheduler, dice, scenario, endpoints)
        self.post = Post(self.world, self.scheduler, dice, self.receivers)
        self.world.on_asked = self.post.look
        self.world.on_send = functools.partial(checks.on_send, self)
        self.effects = Effects(functools.partial(checks.on_effect, self))
        self.processes: list[Process] = []
        self.dead: list[Process] = []
        self.points = self.born = self.pending = 0
        self._news = True
        self._quiet_since = LIMIT_SECONDS
        self.seen_events = 0
        self.problems: list[str] = []
        self._crashes = {a.point for a in schedule.acts if isinstance(a, Crash)}
        self._pauses = {a.point: a.seconds for a in schedule.acts if isinstance(a, Pause)}
        self._path = folder / "ledger-0.db"
        self._threads: dict[int, str] = {}
        self.console: Console

    # The play.

    def play(self) -> None:
        """From the first life to the last settled remote."""
        self._path.write_bytes(template())
        self.console = Console(self._path, self.effects.toolbox(Mortal("console", unwatched)))
        for act in self.schedule.acts:
            self._plan(act)
        for _ in range(self.schedule.lives):
            self._give_birth()
        if not self.scheduler.run(self._over, limit=LIMIT_SECONDS):
            what = "goes round in circles" if self.scheduler.spins else "not over"
            self.problems.append(f"{what}: {checks.unsettled(self.console)}")

    def close(self) -> None:
        """Let everything go."""
        for process in (*self.processes, *self.dead):
            process.clear()
        for process in self.processes:
            process.mortal.bury()
        for process in (*self.processes, *self.dead):
            process.mortal.forget()
        self.console.close()

    def _plan(self, act: object) -> None:
        match act:
            case Submit(at=at) | Command(at=at):
                self.pending += 1
                self.scheduler.at(at, functools.partial(self._carry_out, act))
            case Jump(at=at, seconds=seconds):
                self.scheduler.at(at, functools.partial(self._jump, seconds))
            case Break(request=request, fault=fault):
                self.world.faults[request] = fault
            case _:
                pass

    def _carry_out(self, act: Submit | Command) -> None:
        self.pending -= 1
        self._news = True
        if isinstance(act, Submit):
            self.console.submit(act, self._thread(act.thread))
        else:
            self.console.command(act, checks.unclaimed(self, act.key))
        for process in self.processes:
            self._hint(process)

    def _jump(self, seconds: float) -> None:
        self.clock.wall_offset += seconds

    def _thread(self, number: int | None) -> str | None:
        if number is None:
            return None
        if number not in self._threads:
            self._threads[number] = self.world.make_thread()
        return self._threads[number]

    def _over(self) -> bool:
        """Whether everything was asked and nothing is left to do. Buries the dead on the way."""
        for process in [p for p in self.processes if p.mortal.dead or p.ended]:
            self._bury(process)
        if self.pending or not self._news:
            return False
        self._news = False
        if not checks.quiet(self.console):
            return False
        self._quiet_since = min(self._quiet_since, self.clock.now)
        late = self.clock.now > self._quiet_since + SEALED_WITHIN_SECONDS
        return late or evidence.sealed(self.console)

    # Life and death.

    def _give_birth(self) -> None:
        self.born += 1
        mortal = Mortal(f"life-{self.born}", self._on_point)
        self.processes.append(
            Process(
                self._path, mortal, scheduler=self.scheduler, world=self.world,
                rng=random.Random(self._rng.random()),  # noqa: S311 - a seed's choice
                toolbox=self.effects.toolbox, committed=self._committed,
                signer=self.signer if self.schedule.webhooks else None,
                options=self.options, lease_seconds=self.lease_seconds,
            )
        )  # fmt: skip

    @property
    def ledger_path(self) -> Path:
        """The file that the lives work on now."""
        return self._path

    def receivers(self) -> list[Process]:
        """The lives that a delivery can reach."""
        return [p for p in self.processes if p.receiver is not None and not p.mortal.dead]

    def _on_point(self, mortal: Mortal, what: str) -> None:
        del what
        self.points += 1
        if self.points in self._crashes:
            mortal.dead = True
        if self.points in self._pauses:
            process = next(p for p in self.processes if p.mortal is mortal)
            self.scheduler.pause(process.loop, self._pauses[self.points])

    def _bury(self, process: Process) -> None:
        if not process.mortal.dead:
            self.problems.append(f"{process.mortal.name} ended by itself: {process.ended!r}")
        # It may have died right after a commit: seen before anybody else takes its runs.
        checks.on_commit(self)
        self.processes.remove(process)
        if not self.processes:
            self._move()
        process.kill()
        self.dead.append(process)
        self.scheduler.after(self._rng.random() * 3, self._give_birth)

    def _move(self) -> None:
        """The last process on the file is gone: go on with what the disk holds, byte for byte."""
        fresh = self.folder / f"ledger-{self.born}.db"
        for suffix in ("", "-wal"):
            old = Path(f"{self._path}{suffix}")
            if old.exists():
                shutil.copyfile(old, f"{fresh}{suffix}")
        self.console.close()
        self._path = fresh
        self.console.open(fresh)

    def _committed(self, process: Process) -> None:
        """Others notice a commit sooner or later; the hint may also be lost."""
        self._news = True
        checks.on_commit(self)
        for other in self.processes:
            if other is not process and self._rng.random() < 0.5:
                self._hint(other)

    def _hint(self, process: Process) -> None:
        def tell() -> None:
            writer = process.writer
            if not process.mortal.dead and writer and writer.on_foreign_commit:
                writer.on_foreign_commit()

        self.scheduler.after(0.01 + self._rng.random() * 0.1, tell)


@functools.cache
def template() -> bytes:
    """An empty ledger, the same for every play."""
    from ledger.store.store import Store

    with tempfile.TemporaryDirectory() as folder, seeded("template", VirtualClock()):
        path = Path(folder) / "ledger.db"
        store = Store.open(f"sqlite:///{path}")
        with store.engine.connect() as connection:
            connection.exec_driver_sql(BOOKS)
            connection.commit()
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        store.close()
        return path.read_bytes()


@contextmanager
def seeded(seed: object, time: VirtualClock) -> Iterator[None]:
    source = random.Random(f"entropy:{seed}").randbytes  # noqa: S311 - the point of a simulation
    with clock.use(time), entropy.use(source):
        yield


class _Complaints(logging.Handler):
    """What the product itself calls an error of its own is a problem, whatever came of it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was logged with a traceback."""
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            self.found.append(f"logged: {record.getMessage()}: {type(error).__name__}: {error}")


@contextmanager
def _overheard() -> Iterator[_Complaints]:
    complaints, spread = _Complaints(), log.propagate
    log.addHandler(complaints)
    log.propagate = False
    try:
        yield complaints
    finally:
        log.removeHandler(complaints)
        log.propagate = spread


def play(schedule: Schedule) -> Played:
    """Play a schedule and check everything afterwards."""
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    template()
    with tempfile.TemporaryDirectory(dir=base) as folder, _overheard() as complaints:
        stage = Stage(schedule, Path(folder))
        with seeded(schedule.seed, stage.clock):
            try:
                stage.play()
                stage.problems += [*checks.after(stage), *complaints.found]
                return _played(stage)
            finally:
                stage.close()


def _played(stage: Stage) -> Played:
    hashes = stage.console.read(checks.hashes)
    return Played(
        schedule=stage.schedule,
        problems=tuple(stage.problems),
        events=len(hashes),
        points=stage.points,
        requests=stage.world.requests,
        deaths=len(stage.dead),
        digest=hashlib.sha256(b"".join(hashes)).hexdigest(),
    )


def shortest(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """A schedule that still fails and loses nothing more: each act is left out in turn."""
    index = 0
    while index < len(schedule.acts):
        smaller = schedule.without(index)
        if fails(smaller):
            schedule = smaller
        else:
            index += 1
    return schedule
