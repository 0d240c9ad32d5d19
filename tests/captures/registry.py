# SPDX-License-Identifier: Apache-2.0
"""The list of cases. A case is a function that returns a Capture; with `rows`, one case a row."""

CASES = {}


def case(name, rows=None, policy=()):
    """Registers a function under a name, or once for each row of a table under name/row."""
    def register(function):
        for row, value in (rows or {None: None}).items():
            full = name if row is None else f"{name}/{row}"
            assert full not in CASES, full
            CASES[full] = Case(full, function, value, rows is not None, tuple(policy))
        return function
    return register


class Case:
    def __init__(self, name, function, value, has_row, policy):
        self.name = name
        self.function = function
        self.value = value
        self.has_row = has_row
        self.policy = policy

    @property
    def words(self):
        return " ".join((self.function.__doc__ or self.name).split())

    def capture(self):
        return self.function(self.value) if self.has_row else self.function()
