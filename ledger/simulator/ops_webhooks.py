"""What requests about webhook endpoints do. The simulator knows one project only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import bodies, checks
from .endpoints import EVENT_TYPES, Endpoint, url_problem
from .refusals import Refusal, not_found
from .world import Item, Outcome, Query, World, whole_seconds

MOST_ENDPOINTS = 100
_LONGEST_NAME = 256


def create_endpoint(world: World, query: Query) -> Outcome:
    """A new endpoint; only here and at a rotation is its secret shown."""
    name, url = _name(query.body), _url(query.body)
    event_types = _event_types(query.body)
    if len(world.webhooks.endpoints) >= MOST_ENDPOINTS:
        raise Refusal(400, f"You can have at most {MOST_ENDPOINTS} webhook endpoints.")
    endpoint = world.webhooks.add(name, url, event_types, now=query.now)
    return Outcome(_with_secret(endpoint), endpoint.id)


def list_endpoints(world: World, query: Query) -> Outcome:
    """Newest first."""
    items = [_body(endpoint) for endpoint in world.webhooks.endpoints.values()]
    options = {name: query.options[name] for name in ("after", "limit") if name in query.options}
    return Outcome(checks.page(items, options))


def retrieve_endpoint(world: World, query: Query) -> Outcome:
    """Show an endpoint, without its secret."""
    return Outcome(_body(_endpoint(world, query)))


def update_endpoint(world: World, query: Query) -> Outcome:
    """Change what is given; what stays the same does not count as a change."""
    endpoint, body = _endpoint(world, query), query.body
    before = (endpoint.name, endpoint.url, endpoint.event_types)
    after = (
        _name(body) if "name" in body else endpoint.name,
        _url(body) if "url" in body else endpoint.url,
        _event_types(body) if "event_types" in body else endpoint.event_types,
    )
    endpoint.name, endpoint.url, endpoint.event_types = after
    if after != before:
        endpoint.updated = query.now
    return Outcome(_body(endpoint), endpoint.id)


def delete_endpoint(world: World, query: Query) -> Outcome:
    """Delete an endpoint."""
    endpoint = _endpoint(world, query)
    world.webhooks.delete(endpoint)
    return Outcome(bodies.deleted(endpoint.id, "webhook_endpoint.deleted"), endpoint.id)


def rotate_secret(world: World, query: Query) -> Outcome:
    """Make and show a new secret."""
    endpoint = _endpoint(world, query)
    keep = query.body.get("keep_old_secret_active_for_24_hours", False)
    if not isinstance(keep, bool):
        raise checks.invalid(
            "keep_old_secret_active_for_24_hours", "invalid_type", "expected a boolean"
        )
    world.webhooks.rotate(endpoint, query.now, keep=keep)
    return Outcome(_with_secret(endpoint), endpoint.id, detail={"keeps_old_secret": keep})


def test_endpoint(world: World, query: Query) -> Outcome:
    """Send a sample; the status code of the answer is filled in when it has come."""
    endpoint = _endpoint(world, query)
    event_type = _event_type(checks.required_text(query.body, "event_type"), "event_type")
    body = {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": endpoint.id,
        "event_type": event_type,
        "success": True,
        "status_code": None,
    }
    sends = world.webhooks.test(endpoint, event_type, query.now)
    detail = {"webhook_id": sends.delivery.webhook_id}
    return Outcome(body, endpoint.id, detail=detail, sends=sends)


def list_event_types(world: World, query: Query) -> Outcome:
    """Every type that can be subscribed to."""
    del world, query
    return Outcome({"object": "list", "data": list(EVENT_TYPES)})


def _endpoint(world: World, query: Query) -> Endpoint:
    endpoint_id = query.ids["webhook_endpoint_id"]
    endpoint = world.webhooks.endpoints.get(endpoint_id)
    if endpoint is None:
        raise not_found("webhook endpoint", endpoint_id)
    return endpoint


def _name(body: Mapping[str, Any]) -> str:
    name = checks.required_text(body, "name")
    if not 1 <= len(name) <= _LONGEST_NAME:
        problem = f"expected from 1 to {_LONGEST_NAME} characters"
        raise checks.invalid("name", "invalid_value", problem)
    return name


def _url(body: Mapping[str, Any]) -> str:
    url = checks.required_text(body, "url")
    if problem := url_problem(url):
        raise checks.invalid("url", "invalid_value", problem)
    return url


def _event_types(body: Mapping[str, Any]) -> tuple[str, ...]:
    given = body.get("event_types")
    if not isinstance(given, list) or not given:
        raise checks.invalid("event_types", "invalid_type", "expected an array that is not empty")
    return tuple(dict.fromkeys(_event_type(one, "event_types") for one in given))


def _event_type(given: object, param: str) -> str:
    if not isinstance(given, str) or given not in EVENT_TYPES:
        problem = f"expected one of {', '.join(EVENT_TYPES)}"
        raise checks.invalid(param, "invalid_value", problem)
    return given


def _body(endpoint: Endpoint) -> Item:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": whole_seconds(endpoint.created),
        "updated_at": whole_seconds(endpoint.updated),
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "signing_secret_hint": f"whsec_…{endpoint.secret[-4:]}",
    }


def _with_secret(endpoint: Endpoint) -> Item:
    return {**_body(endpoint), "signing_secret": endpoint.secret}
