"""The endpoints: method, path below ``/v1``, and the operation's name in rules and in the log."""

from __future__ import annotations

_RUN = "/threads/{thread_id}/runs/{run_id}"
_ENDPOINT = "/webhook_endpoints/{webhook_endpoint_id}"
ROUTES: tuple[tuple[str, str, str], ...] = (
    ("POST", "/assistants", "assistants.create"),
    ("GET", "/assistants", "assistants.list"),
    ("GET", "/assistants/{assistant_id}", "assistants.retrieve"),
    ("DELETE", "/assistants/{assistant_id}", "assistants.delete"),
    ("POST", "/threads", "threads.create"),
    ("POST", "/threads/runs", "threads.create_and_run"),
    ("GET", "/threads/{thread_id}", "threads.retrieve"),
    ("DELETE", "/threads/{thread_id}", "threads.delete"),
    ("POST", "/threads/{thread_id}/messages", "messages.create"),
    ("GET", "/threads/{thread_id}/messages", "messages.list"),
    ("GET", "/threads/{thread_id}/messages/{message_id}", "messages.retrieve"),
    ("POST", "/threads/{thread_id}/runs", "runs.create"),
    ("GET", "/threads/{thread_id}/runs", "runs.list"),
    ("GET", _RUN, "runs.retrieve"),
    ("POST", _RUN + "/cancel", "runs.cancel"),
    ("POST", _RUN + "/submit_tool_outputs", "runs.submit"),
    ("GET", _RUN + "/steps", "steps.list"),
    ("POST", "/responses", "responses.create"),
    ("GET", "/responses/{response_id}", "responses.retrieve"),
    ("DELETE", "/responses/{response_id}", "responses.delete"),
    ("POST", "/responses/{response_id}/cancel", "responses.cancel"),
    ("GET", "/responses/{response_id}/input_items", "responses.input_items"),
    ("POST", "/webhook_endpoints", "webhook_endpoints.create"),
    ("GET", "/webhook_endpoints", "webhook_endpoints.list"),
    ("GET", _ENDPOINT, "webhook_endpoints.retrieve"),
    ("POST", _ENDPOINT, "webhook_endpoints.update"),
    ("DELETE", _ENDPOINT, "webhook_endpoints.delete"),
    ("POST", _ENDPOINT + "/rotate_secret", "webhook_endpoints.rotate_secret"),
    ("POST", _ENDPOINT + "/test", "webhook_endpoints.test"),
    ("GET", "/webhook_event_types", "webhook_event_types.list"),
)

#: Every operation that a fault rule can name.
OPERATIONS = tuple(operation for _, _, operation in ROUTES)
