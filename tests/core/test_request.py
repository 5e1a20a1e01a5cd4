"""Requests are judged at the edge: what is wrong, why, and what to do."""

from __future__ import annotations

import json
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.plain_json import parse_json_request, secret_variable
from ledger.core.request import judge_id, judge_key, judge_name, judge_request, judge_tags
from ledger.errors import InvalidInput, SecretInRequest

RESPONSE = {"model": "gpt-5.1", "input": "Draft the memo"}
RUN = {"assistant_id": "asst_1", "thread_id": "thread_1"}
LITERAL = "hunter2-hunter2"


def refused(provider: str, request: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        judge_request(provider, request)
    return str(caught.value)


def response(**changed: Any) -> dict[str, Any]:
    return judge_request("responses", {**RESPONSE, **changed})


def response_refused(**changed: Any) -> str:
    return refused("responses", {**RESPONSE, **changed})


def test_a_request_is_copied_in_plain_types() -> None:
    class Role(StrEnum):
        user = "user"

    inner = {"role": Role.user, "content": ("a", 1, 2.5, None, True)}
    judged = response(input=[MappingProxyType(inner)], something_new={"x": []})
    assert judged == {
        "model": "gpt-5.1",
        "input": [{"role": "user", "content": ["a", 1, 2.5, None, True]}],
        "something_new": {"x": []},
    }
    assert type(judged["input"][0]["role"]) is str
    inner["role"] = "changed"
    assert judged["input"][0]["role"] == "user"


def test_judging_twice_changes_nothing() -> None:
    for provider, request in (("responses", RESPONSE), ("assistants", RUN | {"input": "x"})):
        once = judge_request(provider, request)
        assert judge_request(provider, once) == once


def test_an_unknown_provider_names_the_known() -> None:
    assert "responses, assistants" in refused("agents", RESPONSE)


@pytest.mark.parametrize("request_", [None, [], "x", 17])
def test_a_request_is_an_object(request_: Any) -> None:
    assert "JSON object" in refused("responses", request_)


def test_what_is_always_sent_makes_no_difference() -> None:
    assert response(background=True, store=True, stream=False, metadata=None) == RESPONSE
    assert response(background=None, store=None, stream=None) == RESPONSE


@pytest.mark.parametrize("field", ["background", "store"])
@pytest.mark.parametrize("value", [False, 0, "no"])
def test_what_cannot_be_turned_off(field: str, value: object) -> None:
    text = response_refused(**{field: value})
    assert f"`{field}`" in text
    assert "crash" in text


@pytest.mark.parametrize(("provider", "request_"), [("responses", RESPONSE), ("assistants", RUN)])
def test_streams_are_refused(provider: str, request_: dict[str, Any]) -> None:
    assert "`stream`" in refused(provider, {**request_, "stream": True})


def test_a_response_needs_a_model_and_an_input() -> None:
    assert "`model`" in refused("responses", {"input": "x"})
    assert "`input`" in refused("responses", {"model": "m"})
    assert "`input` is a text or a list" in response_refused(input=17)
    assert judge_request("responses", {"prompt": {"id": "pmpt_1"}})


@pytest.mark.parametrize("tools", ["all", {"type": "function"}, 1, ["lookup"], [None]])
@pytest.mark.parametrize(("provider", "request_"), [("responses", RESPONSE), ("assistants", RUN)])
def test_tools_are_a_list_of_objects(
    provider: str, request_: dict[str, Any], tools: object
) -> None:
    with pytest.raises(InvalidInput, match="`tools"):
        judge_request(provider, request_ | {"tools": tools})


@pytest.mark.parametrize("model", ["", " ", "a\nb", "a\u200bb", "x" * 257, 17, {}])
def test_a_model_has_a_printable_name(model: object) -> None:
    assert "`model`" in response_refused(model=model)
    assert "`model`" in refused("assistants", {**RUN, "model": model})


def test_a_run_on_a_given_thread() -> None:
    assert judge_request("assistants", {"assistant": "asst_1", "thread": "thread_1"}) == RUN
    judged = judge_request("assistants", {**RUN, "input": "x", "model": None})
    assert judged == {**RUN, "messages": [{"role": "user", "content": "x"}]}
    # Under upstream's own name they would be sent again by every restart.
    messages = [{"role": "user", "content": "x"}]
    assert judge_request("assistants", {**RUN, "additional_messages": messages}) == judged


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"thread_id": "thread_1"}, "`assistant_id`"),
        ({"assistant_id": "asst_1"}, "`thread_id`, or `messages`"),
        ({"assistant_id": "asst_1", "messages": []}, "`thread_id`, or `messages`"),
        ({**RUN, "assistant": "asst_2"}, "`assistant` and `assistant_id` mean the same"),
        ({**RUN, "thread": "thread_2"}, "`thread` and `thread_id` mean the same"),
        ({**RUN, "input": "x", "messages": [{"role": "user"}]}, "`input` and `messages`"),
        ({**RUN, "messages": "x"}, "`messages` is a list"),
        ({**RUN, "messages": ["x"]}, "messages[0]"),
        ({**RUN, "messages": [{"role": "user"}]}, "messages[0]"),
        ({"assistant_id": "asst_1", "thread": {"messages": []}}, "`thread_id` must be a text"),
        ({**RUN, "thread_id": "../assistants"}, "`thread_id`"),
    ],
)
def test_a_run_that_cannot_be_used(request_: dict[str, Any], said: str) -> None:
    assert said in refused("assistants", request_)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), b"x", {1}, type, 1j],
    ids=repr,
)
def test_what_json_cannot_carry_is_named_with_its_place(value: object) -> None:
    assert "input[0].content" in response_refused(input=[{"content": value}])


def test_keys_are_texts() -> None:
    assert "a key that is no text" in response_refused(extra={1: "x"})
    assert "cannot be sent" in response_refused(extra={"a\ud800": "x"})
    assert "cannot be sent" in response_refused(extra={"a\x00": "x"})


def test_half_a_surrogate_pair_is_named_with_its_place() -> None:
    text = response_refused(input=[{"content": "ab\ud83d"}])
    assert "input[0].content" in text
    assert "place 3" in text
    text.encode()


def test_nul_is_allowed_in_text() -> None:
    assert response(input="a\x00b")["input"] == "a\x00b"


def test_depth_is_bounded() -> None:
    value: Any = "x"
    for _ in range(90):
        value = [value]
    assert response(extra=value)
    for _ in range(100_000):
        value = [value]
    assert "deeper than 100" in response_refused(extra=value)
    loop: list[Any] = []
    loop.append(loop)
    assert "deeper than 100" in response_refused(extra=loop)


def test_size_is_bounded_in_bytes() -> None:
    assert response(input="é" * 4_999_000)
    text = response_refused(input="é" * 5_000_000)
    assert "10000000" in text
    assert "10000030 bytes" in text


def test_a_number_with_too_many_digits() -> None:
    assert "too many digits" in response_refused(extra=10**5000)


def test_metadata() -> None:
    pairs = {f"k{n}": "v" * 512 for n in range(15)}
    assert response(metadata=pairs)["metadata"] == pairs
    assert "sixteenth" in response_refused(metadata=pairs | {"k15": "v"})
    assert "runward's own" in response_refused(metadata={"runward": "x"})
    assert "513 characters" in response_refused(metadata={"k": "v" * 513})
    assert "65 characters" in response_refused(metadata={"k" * 65: "v"})
    assert "must be a text" in response_refused(metadata={"k": 1})
    assert "must be a text" in response_refused(metadata={"k": {"$secret": "env:K"}})
    assert "an object of texts" in response_refused(metadata=["k"])


@pytest.mark.parametrize(
    "field",
    [
        *("authorization", "Authorization", "api_key", "API-Key", "apikey", "X-API-Key", "token"),
        *("password", "secret", "client_secret", "Client-Secret", "access_token"),
    ],
)
def test_a_literal_secret_under_a_telling_name(field: str) -> None:
    tools = [{"type": "mcp", "headers": {field: LITERAL}}]
    with pytest.raises(SecretInRequest) as caught:
        response(tools=tools)
    assert f"tools[0].headers.{field}" in str(caught.value)
    assert '{"$secret": "env:NAME"}' in str(caught.value)
    assert LITERAL not in str(caught.value)


@pytest.mark.parametrize(
    "secret",
    [
        *("sk-proj-0123456789", "Bearer abcdefgh0123", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "https://ann:hunter2@mcp.test/sse",
    ],
)
def test_a_literal_secret_by_its_shape(secret: str) -> None:
    for changed in ({"input": [{"content": secret}]}, {"metadata": {"note": secret}}):
        with pytest.raises(SecretInRequest) as caught:
            response(**changed)
        assert secret not in str(caught.value)
    with pytest.raises(SecretInRequest) as caught:
        response(extra={secret: "x"})
    assert secret not in str(caught.value)


def test_what_only_sounds_like_a_secret_is_allowed() -> None:
    schema = {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]}
    tools = [{"type": "function", "name": "login", "parameters": schema}]
    assert response(tools=tools, max_output_tokens=10, token="")["tools"] == tools
    assert response(input="My key sk-proj-0123456789 does not work: why?")


def test_a_named_secret_stays_a_name() -> None:
    sealed = {"$secret": "env:MCP_KEY"}
    tools = [{"headers": {"Authorization": sealed}}]
    assert response(tools=tools)["tools"] == tools
    assert secret_variable(sealed) == "MCP_KEY"


@pytest.mark.parametrize(
    "sealed",
    [
        {"$secret": "MCP_KEY"},
        {"$secret": "env:"},
        {"$secret": "env:1KEY"},
        {"$secret": "env:MCP KEY"},
        {"$secret": "env:KEY\n"},
        {"$secret": None},
        {"$secret": {"env": "KEY"}},
        {"$secret": "env:KEY", "more": 1},
    ],
)
def test_a_named_secret_must_be_well_formed(sealed: dict[str, Any]) -> None:
    text = response_refused(tools=[{"headers": {"Authorization": sealed}}])
    assert "tools[0].headers.Authorization" in text
    assert "env:NAME" in text


@pytest.mark.parametrize("value", ["resp_1", "x" * 1000, "a.b", "a..b".replace("..", "."), "é%:;"])
def test_ids(value: str) -> None:
    assert judge_id("thread_id", value) == value


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "x" * 1001, "a/b", "a\\b", "a?b", "a#b", ".", "..", "a..b", "%2e%2E", "%2E"),
        *("a\x00", "a\nb", "a\ud800", None, 17, "https://example.com/x"),
    ],
)
def test_what_is_no_id(value: object) -> None:
    with pytest.raises(InvalidInput, match="`thread_id`"):
        judge_id("thread_id", value)


def test_ids_inside_a_request_are_judged() -> None:
    assert "previous_response_id" in response_refused(previous_response_id="../x")
    assert "conversation" in response_refused(conversation="a/b")
    assert response(conversation={"id": "conv_1"}, previous_response_id=None)


@pytest.mark.parametrize("key", ["memo:2026Q3", "x" * 256, "👨‍👩‍👧 é", "a/b?c"])
def test_keys(key: str) -> None:
    assert judge_key(key) == key


@pytest.mark.parametrize("key", ["", "  ", "x" * 257, "a\x00", "a\nb", "a\x7f", "\udfff", None, 7])
def test_what_is_no_key(key: object) -> None:
    with pytest.raises(InvalidInput, match="the key"):
        judge_key(key)


def test_tags() -> None:
    tags = {"team": "risk", "Cost.Centre_1-a": "", "note": "two words " + "é" * 246}
    assert judge_tags(tags) == tags
    assert judge_tags({f"t{n}": "v" for n in range(32)})


@pytest.mark.parametrize(
    "tags",
    [
        {f"t{n}": "v" for n in range(33)},
        {"": "v"},
        {"a b": "v"},
        {"a\n": "v"},
        {"é": "v"},
        {"x" * 65: "v"},
        {1: "v"},
        {"a": 1},
        {"a": None},
        {"a": "v" * 257},
        {"a": "v\x00"},
        {"a": "\ud800"},
        ["a"],
    ],
    ids=lambda tags: ascii(tags)[:30],
)
def test_what_are_no_tags(tags: Any) -> None:
    with pytest.raises(InvalidInput, match="tag"):
        judge_tags(tags)


def test_names_may_be_bounded_otherwise() -> None:
    assert judge_name("tool", "x" * 64, longest=64)
    with pytest.raises(InvalidInput, match="at most 64"):
        judge_name("tool", "x" * 65, longest=64)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b"", "line 1, column 1"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": "\xff"}', "byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"[" * 200_000, "nested deeper"),
        (b"9" * 5000, "too many digits"),
        (b" " * 10_000_001, "10000001 bytes"),
    ],
)
def test_text_that_is_no_request(text: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_json_request(text)


def test_text_that_is_a_request() -> None:
    assert parse_json_request(b'\xef\xbb\xbf{"a": 1, "a": 2}') == {"a": 2}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.sampled_from(["responses", "assistants"]), JSON_VALUES, JSON_VALUES)
def test_anything_is_either_refused_or_can_be_sent(provider: str, extra: Any, given_: Any) -> None:
    request = {**RESPONSE, **RUN, "input": given_, "extra": extra}
    try:
        judged = judge_request(provider, request)
    except InvalidInput as error:
        str(error).encode("utf-8", "strict")
    else:
        sent = json.dumps(judged, ensure_ascii=False, allow_nan=False).encode()
        assert judge_request(provider, json.loads(sent)) == judged
