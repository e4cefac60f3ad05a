"""The parsers of the command line: errors of three lines, words anywhere, lists of names under the help."""

from __future__ import annotations

import argparse
import difflib
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from ..runtime.requests.options import aliases, elsewhere

# Parts of an action's number of arguments that are no number.
_MANY = ("+", "*")

Check = Callable[["CommandParser", argparse.Namespace], None]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are the cause, the usage in a line, and where to read more."""

    def __init__(self, **options: Any) -> None:
        # An abbreviation would change its meaning with every option that is added.
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Print the cause in three lines and exit with 2."""
        cause = " ".join(message.split())
        self.exit(2, f"{self.prog}: {cause}\nusage: {self.usage_line()}\nAll options: {self.prog} --help\n")

    def usage_line(self) -> str:
        """What has to be given, in a line."""
        return f"{self.prog} COMMAND [options]"

    def format_help(self) -> str:
        """The help, with a usage of one line."""
        self.usage = self.usage_line().replace("%", "%%")
        return super().format_help()


class CommandParser(Parser):
    """The parser of one command.

    Options and words may stand in any order. `lists` are names to print under the help by what they are, read from the
    tables that define them only when the help is asked for; `checks` look at what was parsed;
    `needed` are words that they insist on, though argparse does not. `given` are the options on the command line, by
    their destinations, with their values' texts; `usual_prompt` stands for a prompt that is missing.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lists: dict[str, Callable[[], Iterable[str]]] = {}
        self.checks: list[Check] = []
        self.needed: set[str] = set()
        self.given: dict[str, str] = {}
        self.usual_prompt: str | None = None

    def usage_line(self) -> str:
        """The words and the options that have to be given, in a line."""
        parts = []
        for action in self._actions:
            if action.option_strings and action.required:
                parts.append(f"{action.option_strings[0]} {action.metavar or action.dest.upper()}")
            elif not action.option_strings:
                shown = str(action.metavar or action.dest).upper()
                parts.append({"+": f"{shown}...", "?": f"[{shown}]"}.get(self._nargs(action), shown))
        return " ".join([self.prog, *parts, "[options]"])

    def _nargs(self, action: argparse.Action) -> str:
        return "" if action.dest in self.needed else str(action.nargs)

    def format_help(self) -> str:
        """The help, and the names that its options take."""
        lists = (
            f"\n{title}:\n{textwrap.fill(', '.join(names()), 100, initial_indent='  ', subsequent_indent='  ')}\n"
            for title, names in self.lists.items()
        )
        return super().format_help() + "".join(lists)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse a command's arguments; what nobody knows is an error here, where the command is known."""
        parsed, strange = super().parse_known_args(self._ordered(args or ()), namespace)
        for argument in strange:
            if argument != "--":
                self.error(self._unknown(argument))
        for check in self.checks:
            check(self, parsed)
        return parsed, []

    def _ordered(self, args: Sequence[str]) -> list[str]:
        """Options with their values first, then `--`, then the words, which argparse wants in one piece."""
        options: list[str] = []
        words: list[str] = []
        rest = list(args)
        while rest:
            argument = rest.pop(0)
            if argument == "--":
                words += rest
                break
            if not self._is_option(argument):
                words.append(argument)
            else:
                taken = self._with_values(argument, rest) if argument in self._option_string_actions else [argument]
                self._note_given(taken)
                options += taken
        return [*options, "--", *words] if words else options

    def _note_given(self, taken: Sequence[str]) -> None:
        name, _, value = taken[0].partition("=")
        if name in self._option_string_actions:
            self.given[self._option_string_actions[name].dest] = taken[1] if len(taken) > 1 else value

    def _is_option(self, argument: str) -> bool:
        """Whether an argument is an option, or means to be one: text with spaces is a prompt, whatever begins it."""
        if not argument.startswith("-") or argument == "-":
            return False
        return not any(map(str.isspace, argument)) or argument.partition("=")[0] in self._option_string_actions

    def _with_values(self, option: str, rest: list[str]) -> list[str]:
        """An option and its values, taken from what is left; a single value may begin with a dash."""
        wanted = self._option_string_actions[option].nargs
        if wanted is None and rest and rest[0] not in self._option_string_actions and rest[0] != "--":
            value = rest.pop(0)
            joined = option.startswith("--") and value.startswith("-")
            return [f"{option}={value}"] if joined else [option, value]
        taken = [option]
        if wanted == "?" and rest and not rest[0].startswith("-"):
            taken.append(rest.pop(0))
        while rest and (wanted in _MANY or (isinstance(wanted, int) and len(taken) <= wanted)):
            if wanted in _MANY and rest[0].startswith("-"):
                break
            taken.append(rest.pop(0))
        return taken

    def _unknown(self, argument: str) -> str:
        name = argument.partition("=")[0]
        known, word = self._option_string_actions, name.lstrip("-")
        here = _name_here(word)
        near = [here] if here in known else difflib.get_close_matches(f"--{word}", known, n=1, cutoff=0.75)
        cause = f"unknown option {name}" if name.startswith("-") else f"{argument!r} is one word too many"
        hint = f"; did you mean {near[0]}?" if near and name.startswith("-") else ""
        dashed = "--prompt" in self._option_string_actions and name.startswith("-")
        return f"{cause}{hint}{' (text that begins with - goes after --, or as --prompt=-text)' if dashed else ''}"


def _name_here(word: str) -> str:
    """What an option of diffusers or A1111 is called here."""
    names = {**aliases(), **elsewhere()}
    return "--" + names.get(word.replace("-", "_"), word).replace("_", "-")
