"""An upstream that costs next to nothing: every object is in progress, for ever.

It speaks just enough HTTP/1.1 for keep-alive: one packet is one request, which holds for the small
requests of polling clients on loopback. `GET /spent` answers with what it has served and its CPU
seconds, so that nobody has to believe that the client was what was measured.
"""

from __future__ import annotations

import asyncio
import json
import time

RESPONSE = {
    "object": "response", "created_at": 1763600000, "status": "in_progress", "background": True,
    "completed_at": None, "error": None, "incomplete_details": None, "instructions": None,
    "max_output_tokens": None, "max_tool_calls": None, "model": "gpt-5.1-2025-11-13", "output": [],
    "parallel_tool_calls": True, "previous_response_id": None, "prompt_cache_key": None,
    "reasoning": {"effort": "medium", "summary": None}, "safety_identifier": None,
    "service_tier": "auto", "store": True, "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto",
    "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "usage": None,
    "user": None, "metadata": {},
}  # fmt: skip
RUN = {
    "object": "thread.run", "created_at": 1763600000, "assistant_id": "asst_1",
    "status": "in_progress", "started_at": 1763600001, "expires_at": 4102444800,
    "cancelled_at": None, "failed_at": None, "completed_at": None, "required_action": None,
    "last_error": None, "model": "gpt-5.1-2025-11-13", "instructions": "", "tools": [],
    "metadata": {}, "usage": None, "incomplete_details": None, "temperature": 1.0, "top_p": 1.0,
    "max_prompt_tokens": None, "max_completion_tokens": None, "response_format": "auto",
    "truncation_strategy": {"type": "auto", "last_messages": None}, "tool_choice": "auto",
    "parallel_tool_calls": True,
}  # fmt: skip
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_0123456789abcdef\r\n"
    b"openai-processing-ms: 12\r\nx-ratelimit-limit-requests: 10000000\r\n"
    b"x-ratelimit-remaining-requests: 9999999\r\nx-ratelimit-reset-requests: 6ms\r\n"
    b"Content-Length: "
)
RESPONSE_REST = json.dumps(RESPONSE).encode()[1:]
RUN_REST = json.dumps(RUN).encode()[1:]


class Upstream(asyncio.Protocol):
    """One connection."""

    reads = 0
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not data.startswith((b"GET ", b"POST ")):
            # The body of a POST that was answered when its head came.
            return
        path = data[: data.index(b" HTTP/1.1")].split(b" ")[1]
        if path == b"/spent":
            said = json.dumps({"reads": Upstream.reads, "cpu": time.process_time()}).encode()
        elif path.startswith(b"/v1/threads/"):
            said = self.run(path.split(b"/"), data.startswith(b"GET"))
        else:
            Upstream.reads += 1
            name = path.rsplit(b"/", 1)[1].replace(b"%3A", b":")
            said = b'{"id": "%b", %b' % (name, RESPONSE_REST)
        self.transport.write(b"%b%d\r\n\r\n%b" % (HEAD, len(said), said))

    def run(self, parts: list[bytes], read: bool) -> bytes:
        """A run of a thread, made or read."""
        Upstream.reads += read
        known = parts[5] if len(parts) > 5 else b"run_of_" + parts[3]
        return b'{"id": "%b", "thread_id": "%b", %b' % (known, parts[3], RUN_REST)


async def serve() -> None:
    """Say where, then serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
