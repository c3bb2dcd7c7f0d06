"""Names: refusing one that does not exist, with the nearest that does, and those of the leaves of a pytree."""

import difflib
from collections.abc import Iterable
from typing import Any

_SHOWN = 12
"""Up to so many choices are spelt out in the message."""


def check_name(kind: str, given: str, choices: Iterable[str], how_to_list: str = "") -> None:
    """Refuses `given` if it is not among `choices`.

    Args:
        kind: What is being named, as the message's subject: "brax environment".
        given: The name; anything else is refused too.
        choices: The names there are.
        how_to_list: What shows all choices, for when they are too many for a message.

    Raises:
        ValueError: If there is no such name; says which is nearest, and what there is.
    """
    known = sorted(choices)
    if given in known:
        return
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(given).lower(), lowered, 1, 0.5)
    hint = f"; did you mean {lowered[near[0]]!r}?" if near else "."
    there_are = f" There are: {', '.join(known) or 'none'}." if len(known) <= _SHOWN else f" {how_to_list}"
    raise ValueError(f"no {kind} {given!r}{hint}{there_are.rstrip()}")


def path_name(path: tuple[Any, ...]) -> str:
    """A pytree path with dots, e.g. `params.dense.kernel`; steps without a name are left out."""
    from jax.tree_util import keystr  # `jaxreward --help` should not wait for JAX

    return keystr(tuple(key for key in path if str(key)), simple=True, separator=".")
