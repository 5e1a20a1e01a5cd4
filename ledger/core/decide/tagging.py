"""Tags that a person sets or removes once the run is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ledger.core.alphabet import EventKind
from ledger.core.decide.draft import Draft
from ledger.core.decide.operator import Command
from ledger.core.request import judge_tags


def tag(tags: Mapping[str, str], remove: Collection[str]) -> Command:
    """Set these tags and remove those; what is so already is left alone, and is no event."""

    def command(draft: Draft) -> None:
        before = dict(draft.run.tags)
        after = {name: value for name, value in before.items() if name not in remove}
        after = judge_tags({**after, **tags})
        if after == before:
            return
        changed = {name: value for name, value in after.items() if before.get(name) != value}
        gone = sorted(before.keys() - after.keys())
        draft.set_run(tags=after)
        draft.event(EventKind.tagged, detail={"set": changed, "removed": gone})

    return command
