"""When to look at a run next. Pure: times and random numbers come in as arguments.

`looks` is what a life remembers of its looks, `policies` how long each policy waits, `next_look`
who of them has the say. What the learned policy knows: `lasting` takes durations from remotes,
`density` makes a class's density of them, `experience` keeps the classes, `schedule` lays out the
looks, `worth` finds the price of a second for a target, `rehearsal` replays a policy over what was.
"""

from ledger.core.pacing.looks import Look, after_failure, trouble_is_news

__all__ = ["Look", "after_failure", "trouble_is_news"]
