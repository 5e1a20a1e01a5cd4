"""Threads and their runs, for servers that still speak the protocol.

Source: openai-python 3.52.0 `resources/beta/threads/`; shut down at OpenAI on 2026-08-26.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from openai import AsyncOpenAI

from ledger.core.alphabet import RemoteKind
from ledger.core.intent import Address, Intent, Output
from ledger.core.lifecycle import FINAL
from ledger.core.outcome import Observation
from ledger.core.reading import MARKER_KEY
from ledger.errors import (
    ConnectionFailed,
    Pause,
    RequestRefused,
    Sent,
    ServiceGone,
    ThreadBusy,
    UpstreamError,
)
from ledger.providers.exchange import Exchange, read_listed, segment
from ledger.providers.sending import marked, output_text, resolve
from ledger.providers.translate import translated
from ledger.providers.wire import Wire

HEADERS: Final = {"OpenAI-Beta": "assistants=v2"}
PAGES_MAX: Final = 5
FULL: Final = {"limit": "100"}
GONE: Final = (
    "this base URL has no Assistants endpoints; OpenAI shut its own down on 2026-08-26: "
    "use the `responses` provider, or the base URL of a server that still speaks the protocol"
)


class AssistantsProvider:
    """`/threads` and their runs; see `Provider` for what each method promises."""

    def __init__(self, client: AsyncOpenAI, key: str, *, thin: bool = False) -> None:
        self._wire = Wire(client, key, headers=HEADERS, thin=thin)

    async def create(self, intent: Intent) -> Observation:
        """A thread with the messages, or a run on one. Raises ThreadBusy besides the rest."""
        address = intent.address
        if address.kind is RemoteKind.thread:
            body = thread_body(intent, self._wire.secrets)
            made = self._wire.post("create thread", "/threads", body, marker=address.marker)
            return (await self._explained(made)).observation(address, created=True)
        body = run_body(intent, self._wire.secrets)
        made = self._wire.post("create run", _runs(address), body, marker=address.marker)
        try:
            exchange = await self._explained(made)
        except RequestRefused as error:
            raise await self._why_refused(error, address) from None
        return exchange.observation(address, created=True)

    async def observe(self, address: Address) -> Observation:
        """Read one thread or run."""
        read = self._wire.look(f"read {address.kind}", _path(address))
        return (await self._explained(read)).observation(address)

    async def search(self, address: Address) -> tuple[Observation, ...]:
        """Runs of the thread with the marker, among the newest 500; threads have no list.

        A thread takes one run at a time, so 500 newer ones cannot have come since the create.
        """
        if address.kind is not RemoteKind.thread_run:
            return ()
        runs = await self._listed("list runs", _runs(address), {"order": "desc"})
        ours = [run for run in runs if _marker(run) == address.marker]
        return tuple(read_listed(run, address) for run in ours)

    async def submit(self, address: Address, outputs: Sequence[Output]) -> Observation:
        """All outputs in one request; upstream knows no other way."""
        given = [
            {"tool_call_id": output.call_id, "output": output_text(output.body)}
            for output in outputs
        ]
        sent = self._wire.post(
            "submit tool outputs",
            f"{_path(address)}/submit_tool_outputs",
            {"tool_outputs": given},
        )
        return (await self._explained(sent)).observation(address)

    async def cancel(self, address: Address) -> Observation:
        """Ask for an end of the run."""
        sent = self._wire.post("cancel run", f"{_path(address)}/cancel")
        return (await self._explained(sent)).observation(address)

    async def harvest(self, address: Address) -> bytes:
        """The messages that the run wrote, oldest first, as {"messages": [...]}."""
        path = f"/threads/{segment(address.parent_id)}/messages"
        query = {"run_id": address.remote_id, "order": "asc"}
        messages = await self._listed("list messages", path, query)
        # Not every server knows the filter.
        ours = [item for item in messages if item.get("run_id") in (None, address.remote_id)]
        with translated("list messages"):
            return json.dumps({"messages": ours}).encode()

    async def close(self) -> None:
        """Give the connections back."""
        await self._wire.close()

    async def _listed(self, operation: str, path: str, query: dict[str, str]) -> list[Any]:
        items: list[Any] = []
        after: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            asked = self._wire.get(operation, path, {**query, **after, **FULL})
            page = (await self._explained(asked)).page()
            items += page.items
            if page.after is None:
                break
            after = {"after": page.after}
        return items

    async def _explained(self, call: Awaitable[Exchange]) -> Exchange:
        """The call; a 404 is asked about, because it may mean the object or the whole service."""
        try:
            return await call
        except UpstreamError as error:
            if error.reply.status == 404:
                raise await self._why_missing(error) from None
            raise

    async def _why_missing(self, error: UpstreamError) -> UpstreamError:
        try:
            await self._wire.get("list assistants", "/assistants", {"limit": "1"})
        except UpstreamError as probe:
            if probe.reply.status == 404:
                return ServiceGone(f"{error.message}; {GONE}", reply=error.reply)
            return _undecided(error, probe)
        return error

    async def _why_refused(self, error: RequestRefused, address: Address) -> UpstreamError:
        """ThreadBusy when the thread has a live run: upstream says so in words only.

        A run that ended between the refusal and this look is known by its id in those words.
        """
        if error.reply.status != 400:
            return error
        query = {"order": "desc", **FULL}
        try:
            page = (await self._wire.get("list runs", _runs(address), query)).page()
        except UpstreamError as probe:
            return _undecided(error, probe)
        busy = any(_live(run) or _named(run, error.message) for run in page.items)
        return ThreadBusy(error.message, reply=error.reply) if busy else error


def _live(run: Mapping[str, Any]) -> bool:
    status = run.get("status")
    return isinstance(status, str) and status not in FINAL


def _named(run: Mapping[str, Any], message: str) -> bool:
    name = run.get("id")
    return isinstance(name, str) and bool(name) and name in message


def thread_body(intent: Intent, seen: set[str]) -> dict[str, Any]:
    """What makes a thread: the messages and our marker. The run has the caller's metadata."""
    body: dict[str, Any] = {"metadata": marked(None, intent.address.marker)}
    messages = resolve(intent.request.get("messages"), seen)
    return body | ({"messages": messages} if messages and intent.with_messages else {})


def run_body(intent: Intent, seen: set[str]) -> dict[str, Any]:
    """What makes a run. Messages travel in it only when the caller gave the thread; else the
    thread was made with them."""
    body: dict[str, Any] = resolve(intent.request, seen)
    thread_id, messages = body.pop("thread_id", None), body.pop("messages", None)
    if thread_id and messages and intent.with_messages:
        body["additional_messages"] = messages
    return body | {"metadata": marked(body.get("metadata"), intent.address.marker)}


def _undecided(error: UpstreamError, probe: UpstreamError) -> UpstreamError:
    """What to raise when the question after `error` was itself answered by an error.

    `error` proves that nothing was made, so the same request may go again once the account is
    well; a `probe` that was refused for its own sake tells nothing new.
    """
    if error.sent is Sent.unknown:
        return error
    if probe.sent is Sent.unknown:
        return ConnectionFailed(f"{error.message}; unexplained: {probe.message}", reply=error.reply)
    return error if probe.pause is Pause.none else probe


def _runs(address: Address) -> str:
    return f"/threads/{segment(address.parent_id)}/runs"


def _path(address: Address) -> str:
    if address.kind is RemoteKind.thread:
        return f"/threads/{segment(address.remote_id)}"
    return f"{_runs(address)}/{segment(address.remote_id)}"


def _marker(run: dict[str, Any]) -> object:
    metadata = run.get("metadata")
    return metadata.get(MARKER_KEY) if isinstance(metadata, dict) else None
