"""Background responses. Source: OpenAI's background and function-calling guides, and
openai-python 3.52.0 `types/responses/response_create_params.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openai import AsyncOpenAI

from ledger.core.intent import Address, Intent, Output
from ledger.core.outcome import Observation
from ledger.errors import ObjectMissing, RequestRefused, ServiceGone
from ledger.providers.exchange import segment
from ledger.providers.replies import error_object
from ledger.providers.sending import marked, output_text, resolve
from ledger.providers.wire import Wire


class ResponsesProvider:
    """`/responses`: chained, without a list; see `Provider` for what each method promises."""

    def __init__(self, client: AsyncOpenAI, key: str, *, thin: bool = False) -> None:
        self._wire = Wire(client, key, thin=thin)

    async def create(self, intent: Intent) -> Observation:
        """One link of the chain: the caller's request, or the outputs of the link before."""
        body = create_body(intent, self._wire.secrets)
        try:
            exchange = await self._wire.post(
                "create response", "/responses", body, marker=intent.address.marker
            )
        except ObjectMissing as error:
            if _names_an_object(error, body.get("model")):
                raise
            raise ServiceGone(
                f"{error.message}; this base URL has no /responses", reply=error.reply
            ) from None
        return exchange.observation(intent.address, created=True)

    async def observe(self, address: Address) -> Observation:
        """Read one response."""
        exchange = await self._wire.look("read response", _path(address))
        return exchange.observation(address)

    async def search(self, address: Address) -> tuple[Observation, ...]:  # noqa: ARG002
        """Nothing: upstream has no list of responses."""
        return ()

    async def submit(self, address: Address, outputs: Sequence[Output]) -> Observation:  # noqa: ARG002
        """Refused: outputs travel in the create of the next link."""
        raise RequestRefused("a response takes tool outputs in the create of the next one")

    async def cancel(self, address: Address) -> Observation:
        """Ask for an end; a repeated cancel answers with the final object."""
        exchange = await self._wire.post("cancel response", f"{_path(address)}/cancel")
        return exchange.observation(address)

    async def harvest(self, address: Address) -> bytes:
        """The whole response: its output is a part of it."""
        return (await self.observe(address)).body

    async def close(self) -> None:
        """Give the connections back."""
        await self._wire.close()


def create_body(intent: Intent, seen: set[str]) -> dict[str, Any]:
    """What is sent. The values of secrets in it are added to `seen`."""
    body: dict[str, Any] = resolve(intent.request, seen)
    if intent.previous_id:
        body["input"] = [_output_item(output) for output in intent.outputs]
        # Upstream refuses both; the items of a conversation already hold the link before.
        if "conversation" not in body:
            body["previous_response_id"] = intent.previous_id
        if "tool_choice" in body:
            body["tool_choice"] = _once(body["tool_choice"])
    metadata = marked(body.get("metadata"), intent.address.marker)
    return body | {"background": True, "store": True, "metadata": metadata}


def _once(choice: Any) -> Any:
    """A choice that forces a call has been obeyed: kept on, no link would end with an answer."""
    if isinstance(choice, dict):
        allowed = choice.get("type") == "allowed_tools"
        return choice | {"mode": "auto"} if allowed else "auto"
    return "auto" if choice == "required" else choice


def _output_item(output: Output) -> dict[str, str]:
    return {
        "type": "function_call_output",
        "call_id": output.call_id,
        "output": output_text(output.body),
    }


def _path(address: Address) -> str:
    return f"/responses/{segment(address.remote_id)}"


def _names_an_object(error: ObjectMissing, model: object) -> bool:
    """Whether a 404 on the collection speaks of a model or a prompt, and not of the endpoint.

    An unknown URL has neither `param` nor `code` at OpenAI; vLLM sends the status as the code,
    and names a missing model in the text only.
    """
    said = error_object(error.reply.body or b"") or {}
    code = said.get("code")
    named = isinstance(code, str) and code not in ("404", "not_found", "unknown_url")
    return bool(said.get("param")) or named or (isinstance(model, str) and model in error.message)
