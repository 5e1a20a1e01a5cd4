"""`POST /webhooks/openai`: deliveries in, verified and written down before they are answered."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from ledger.core.alphabet import Receipt
from ledger.core.delivery import BODY_BYTES_MAX, PATH
from ledger.errors import DatabaseError, DeliveryRefused
from ledger.service.receiving import Receiver

BODY_SECONDS = 10
"""A body of some hundred bytes takes no longer; who holds it back holds a connection."""
STATUS = {Receipt.forged: 401, Receipt.too_large: 413}
"""All other refusals are 400. None is a 5xx: that would be sent again for three days."""


def receiver_router(receiver: Receiver) -> APIRouter:
    """The route of the receiver."""
    router = APIRouter()

    @router.post(PATH, include_in_schema=False)
    async def receive(request: Request) -> Response:
        try:
            body = await _body(request)
            result = await receiver.receive(request.headers, body)
        except ClientDisconnect:
            return Response(status_code=400)
        except TimeoutError:
            receiver.refuse(Receipt.malformed)
            return _refused(408, Receipt.malformed, f"no whole body within {BODY_SECONDS} s")
        except TooLarge:
            receiver.refuse(Receipt.too_large)
            return _refused(413, Receipt.too_large, f"more than {BODY_BYTES_MAX} bytes")
        except DeliveryRefused as refused:
            status = STATUS.get(Receipt(refused.result), 400)
            return _refused(status, refused.result, refused.message)
        except DatabaseError:
            # A good delivery that cannot be kept: upstream sends it again.
            return _refused(503, "unavailable", "the ledger cannot take it now")
        return JSONResponse({"result": result})

    return router


class TooLarge(Exception):
    """The body is larger than any delivery."""


async def _body(request: Request) -> bytes:
    """The raw bytes. Raises TooLarge as soon as it shows, TimeoutError for one that stalls."""
    parts = bytearray()
    async with asyncio.timeout(BODY_SECONDS):
        async for part in request.stream():
            parts += part
            if len(parts) > BODY_BYTES_MAX:
                raise TooLarge
    return bytes(parts)


def _refused(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
