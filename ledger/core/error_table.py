"""docs/errors.md, made from the tree of errors, so that the page cannot differ from the program."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.errors import RunwardError, UpstreamError, leaves

HEAD = """\
# Errors

Made from `ledger/errors` by `ledger.core.error_table.document`; change it there.
"""
UPSTREAM = """\
## Upstream errors

A failed call to a provider never leaves the reconciler: it becomes an outcome, with these effects.
*Sent* says what the failure proves: after `not_sent` and `refused` there is nothing upstream, after
`unknown` there may be.

"""
RAISED = """\
## Raised errors

What the command and the library raise, with the exit code of the command.

"""


def document() -> str:
    """The page as Markdown."""
    upstream = _table(
        ("Error", "Meaning", "Sent", "Effect on the run", "Effect on the account", "What to do"),
        (
            (
                f"`{error.__name__}`",
                _summary(error),
                f"`{error.sent}`",
                error.run_effect,
                error.account_effect,
                error.remedy,
            )
            for error in leaves()
        ),
    )
    raised = _table(
        ("Error", "Is a", "Meaning", "Exit code"),
        (
            (
                f"`{error.__name__}`",
                f"`{error.__mro__[1].__name__}`",
                _summary(error),
                str(error.exit_code),
            )
            for error in _raised(RunwardError)
        ),
    )
    return "\n".join((HEAD, RAISED + raised, UPSTREAM + upstream))


def _raised(root: type[RunwardError]) -> Iterator[type[RunwardError]]:
    for error in root.__subclasses__():
        # Only those of the tree: other modules refine them for their own use.
        if error is not UpstreamError and error.__module__ == root.__module__:
            yield error
            yield from _raised(error)


def _summary(error: type[RunwardError]) -> str:
    return (error.__doc__ or "").strip().splitlines()[0]


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
