"""What the user gave, put together with the sweep it is on top of: settings, ranges, methods to choose between."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from adapter_sweep.config.check import keys_of
from adapter_sweep.config.choosing import chosen_methods, not_chosen, settings_of, spread
from adapter_sweep.config.loading import load, options, sweep_section
from adapter_sweep.config.naming import METHOD, key_of, owner_of
from adapter_sweep.config.quoting import quoted

__all__ = ["GROUPS", "Given", "option", "written"]

GROUPS = ("backbone", "task", "method", "train", "latency", "workers", "tracking", "sweep")

_KIND = "method.kind"


@dataclass(frozen=True)
class Given:
    """Ranges and fixed values by key, the sweep they are on top of, and the user's own configuration."""

    ranges: Mapping[str, str]
    fixed: Mapping[str, Override]
    sweep: str | None
    config_dir: Path | None

    def compose(self) -> tuple[dict[str, Any], list[str]]:
        """The configuration as plain values, not checked against the schema, and what is wrong with it already.

        Raises:
            UserInputError: a file cannot be read, the parts do not go together, or methods are chosen that are not
                there.
        """
        values, problems = self._load(), []
        if "methods" in values:
            problems.append(f"methods={values.pop('methods')!r}: there is no such key; did you mean method?")
        space = values.get("search_space")
        if not isinstance(space, dict):  # the schema says so
            return values, problems
        theirs = {str(name): str(text) for name, text in space.items()}
        offered = self._offered(theirs)
        methods = () if METHOD in self.fixed else offered
        kept = self._kept(theirs, methods)
        wanted = {**kept, **self.ranges}
        wrong = [name for name in (*wanted, *self.fixed) if owner_of(name) not in (None, *methods)]
        problems += [not_chosen(name, methods) for name in dict.fromkeys(wrong)]
        values["search_space"] = {name: text for name, text in wanted.items() if name not in wrong}
        if methods:
            asked = self.ranges if METHOD in self.ranges else wanted
            problems += self._choose(values, methods, asked)
        elif METHOD in self.fixed:
            self._give_way(values, offered)
        return values, problems

    def _load(self, method: str | None = None) -> dict[str, Any]:
        """As Hydra composes it; of a chosen method, with what was given for that one alone."""
        own = {key_of(key): o for key, o in self.fixed.items() if method is not None and owner_of(key) == method}
        left = {*own, *((_KIND,) if method is not None else ())}
        arguments = [_argument(o) for key, o in self.fixed.items() if owner_of(key) is None and key not in left]
        arguments += [f"++{key}={written(o)}" for key, o in own.items() if key.startswith("method.") and key != _KIND]
        arguments += [] if method is None else [f"method={quoted(method)}"]
        return load(arguments, self.sweep, self.config_dir)

    def _section(self, method: str) -> dict[str, Any]:
        found: dict[str, Any] = self._load(method)[METHOD]
        return found

    def _offered(self, theirs: Mapping[str, str]) -> tuple[str, ...]:
        """The methods to choose between: by the command line's range, else by the sweep's."""
        known = options(METHOD, self.config_dir)
        if METHOD in self.ranges:
            return chosen_methods(self.ranges[METHOD], known)
        return chosen_methods(theirs[METHOD], known, "search_space.method") if METHOD in theirs else ()

    def _kept(self, theirs: Mapping[str, str], methods: tuple[str, ...]) -> dict[str, str]:
        """The sweep's ranges that the command line leaves: it has the last word on a key, and on the methods."""
        last = {*self.ranges, *self.fixed}
        kept = {name: text for name, text in theirs.items() if name not in last and key_of(name) not in last}
        if METHOD in self.fixed:
            only = option(self.fixed[METHOD])
            own = {key_of(name): text for name, text in kept.items() if owner_of(name) == only}
            return {name: text for name, text in kept.items() if owner_of(name) is None} | own
        if METHOD in self.ranges:
            return {name: text for name, text in kept.items() if owner_of(name) in (None, *methods)}
        return kept

    def _choose(self, values: dict[str, Any], methods: tuple[str, ...], asked: Collection[str]) -> list[str]:
        """Put the chosen methods' settings into the values, and each one's ranges; what is wrong."""
        settings, problems = settings_of(methods, self._section, self._for_all())
        if any(key_of(key) == _KIND for key in self.fixed):
            problems.append(f"{_KIND}: every method has its own; choose between methods with method=choice(…)")
        own = {name: written(o) for name, o in self.fixed.items() if owner_of(name) in methods}
        # Of training there is one section for all, so a method's own value is a choice of one.
        alone = {name: f"choice({text})" for name, text in own.items() if key_of(name).startswith("train.")}
        lists = [name for name in alone if isinstance(self.fixed[name].value(), list | dict | None)]
        problems += [
            f"{name}={own[name]}: a method's own value of train is a word, a number or a switch" for name in lists
        ]
        alone = {name: text for name, text in alone.items() if name not in lists}
        space, wrong = spread({**values["search_space"], **alone}, settings, own, asked)
        values |= {"search_space": space, METHOD: settings[methods[0]], "methods": settings}
        return problems + wrong

    def _give_way(self, values: dict[str, Any], offered: tuple[str, ...]) -> None:
        """Leave out what the sweep says of keys that the one method chosen lacks and others have."""
        settings = values[METHOD]
        known = {*keys_of([METHOD], settings)}
        others = {f"method.{name}" for name in keys_of([METHOD], None) if name not in known}
        values["search_space"] = {
            name: text for name, text in values["search_space"].items() if name not in others or name in self.ranges
        }
        said = sweep_section(self.sweep, METHOD, self.config_dir)
        lacking = {name for name in said if name not in known and f"method.{name}" not in self.fixed}
        if lacking and offered:
            elsewhere = {key for method in offered for key in keys_of([METHOD], self._section(method))}
            values[METHOD] = {key: value for key, value in settings.items() if key not in lacking & elsewhere}

    def _for_all(self) -> dict[str, str]:
        """What is fixed of `method` for every chosen one: field -> as it was written."""
        theirs = sweep_section(self.sweep, METHOD, self.config_dir)
        said = {str(name): f"{name}={value}" for name, value in theirs.items()}
        mine = {key: o for key, o in self.fixed.items() if key.startswith("method.")}
        return said | {key.split(".")[1]: f"{key.removeprefix('method.')}={written(o)}" for key, o in mine.items()}


def written(override: Override) -> str:
    """The value as it was written."""
    return str(override.input_line).partition("=")[2]


def option(override: Override) -> str:
    """A group's option as it was written: `007` is no number here."""
    value = override.value()
    return value if isinstance(value, str) else written(override)


def _argument(override: Override) -> str:
    """Let Hydra accept any key: the schema names the unknown ones, all at once and with what is near."""
    if override.key_or_group in GROUPS:
        return f"{override.key_or_group}={quoted(option(override))}"
    if override.is_delete():
        return str(override.input_line)
    return "++" + str(override.input_line).lstrip("+")
