"""Everything that can go wrong, as one small tree.

    HeadstartError
    ├── ProblemError   (ValueError)   the data, or the way it is described
    ├── UnknownName    (LookupError)  a plug-in, column or class that does not exist
    ├── MissingExtra   (ImportError)  a library or weight file that is not installed here
    ├── NotAdmissible  (ValueError)   a method asked to work with less than it needs
    ├── OutOfBudget                   the clock or the memory limit stopped the work
    └── RunError                      a run folder that cannot be read or written

Every message says what is wrong, with the value; what would be right; what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HeadstartError(Exception):
    """What every error of this package is."""

    exit_code = 2


class ProblemError(HeadstartError, ValueError):
    """The data, or the way it is described, does not make a problem that can be solved."""


class UnknownName(HeadstartError, LookupError):
    """A name that nothing answers to. The message offers the nearest one."""

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[str], hint: str = "") -> UnknownName:
        """The error for ``name``, which is no ``what``; with the nearest of ``known`` if one is near."""
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        offer = f" Did you mean '{near[0]}'?" if near else f" There are: {', '.join(known[:12]) or 'none'}."
        return cls(f"No {what} is called '{name}'.{offer}{' ' + hint if hint else ''}")


class MissingExtra(HeadstartError, ImportError):
    """A library or a weight file is not on this machine. The message has the command that brings it."""

    exit_code = 3


class NotAdmissible(HeadstartError, ValueError):
    """A method was given less than it needs."""


class OutOfBudget(HeadstartError):
    """The time or memory that was allowed is used up. What was finished is kept."""

    exit_code = 3


class RunError(HeadstartError):
    """A run folder or a file of ours cannot be created, read or continued."""

    exit_code = 3
