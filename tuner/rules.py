"""Which rows of the data train, validate and test: the rules of `--split`, and those without it.

A rule names rows of a part of the data (a split that the data come with, or the one file):

    dev                 the part called dev, whole
    0:35000             rows 0 to 34,999 of the part train, or of the only part there is
    0.8                 that share of its rows, drawn by class with the run's seed
    test[0:1000]        the same of a part that is named
    train[0.1]

Words only; reads no rows.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.errors import UserError, suggestion

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

_CALLED = {
    TRAIN: ("train", "training"),
    VALIDATION: ("validation", "valid", "val", "dev", "validation_matched", "dev_matched"),
    TEST: ("test", "testing", "test_matched"),
}
"""What data call their splits, in the order in which they are looked for."""

_RULE = re.compile(r"(?P<base>[^\[\]:=]*?)\s*\[(?P<inner>[^\[\]]*)\]|(?P<bare>[^\[\]]+)")
_ROWS = re.compile(r"(\d*)\s*:\s*(\d*)")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?%?")
_FORMS = "write a name (dev), rows (0:35000), a share (0.8), or either of a part (train[0.1])"


@dataclass(frozen=True)
class Rule:
    """Rows of the part `base` (None: the one that is meant): all of them, those from `start` to
    before `stop` (None: the last), or a `share` of them."""

    base: str | None
    start: int | None = None
    stop: int | None = None
    share: float | None = None

    @property
    def whole(self) -> bool:
        return self.start is None and self.share is None

    @property
    def inner(self) -> str:
        """The rule within its part: `0:35000` or `0.8`; nothing where it is the whole."""
        if self.share is not None:
            return "1.0" if self.share == 1 else repr(self.share)
        return (
            "" if self.start is None else f"{self.start}:{'' if self.stop is None else self.stop}"
        )

    def __str__(self) -> str:
        if self.whole:
            return str(self.base)
        return self.inner if self.base is None else f"{self.base}[{self.inner}]"


@dataclass(frozen=True)
class Assignment:
    """The rule of each split that there is, every one with its part; `note` says aloud what was
    not asked for."""

    rules: Mapping[str, Rule]
    note: str | None = None


def parse_rule(text: str) -> Rule:
    """The rule that `text` writes. Raises UserError, without naming the split."""
    found = _RULE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{text!r} is no rule for rows; {_FORMS}")
    inner = found["inner"] if found["bare"] is None else found["bare"]
    base = (found["base"] or None) if found["bare"] is None else None
    inner = inner.strip()
    if rows := _ROWS.fullmatch(inner):
        start, stop = int(rows[1] or 0), int(rows[2]) if rows[2] else None
        if stop is not None and stop <= start:
            raise UserError(f"{text!r} holds no rows: it must end after it begins")
        return Rule(base, start, stop)
    if _NUMBER.fullmatch(inner):
        share = float(inner.removesuffix("%")) / (100 if inner.endswith("%") else 1)
        if not 0 < share <= 1:
            raise UserError(f"{text!r} is no share: it must lie above 0 and be at most 1")
        if share == 1 and "." not in inner and "%" not in inner:
            raise UserError(f"{text!r} could be a share or a row; write 1.0, or rows as 0:1")
        return Rule(base, share=share)
    if found["bare"] is None or ":" in inner or "=" in inner:
        raise UserError(f"{text!r} is no rule for rows; {_FORMS}")
    return Rule(inner)


def parse_rules(value: object) -> dict[str, str]:
    """`["train=0.8", "test=0.2"]`, or a mapping of the same, as `{"train": "0.8", "test": "0.2"}`.

    Raises UserError for another split, and for what is no rule.
    """
    if isinstance(value, list | tuple):
        pairs = [text.partition("=") for text in map(str, value)]
        given = [(name.strip(), rule) for name, _, rule in pairs]
    elif isinstance(value, Mapping) or value is None:
        given = [(str(name), _as_text(rule)) for name, rule in (value or {}).items()]
    else:
        raise UserError(f"split: {value!r}: must map train, validation and test to rows")
    found: dict[str, str] = {}
    for name, rule in given:
        if name not in SPLITS:
            raise UserError(
                f"--split {name}: must be SPLIT=ROWS, where SPLIT is {', '.join(SPLITS)}; "
                "such as --split train=0:35000"
            )
        if name in found:
            raise UserError(f"--split {name}= is given twice; leave one")
        try:
            found[name] = str(parse_rule(rule))
        except UserError as error:
            raise UserError(f"--split {name}={rule}: {error}") from None
    return found


def _as_text(rule: object) -> str:
    # `test: 40000:` without quotation marks is a mapping to YAML.
    if isinstance(rule, Mapping) and len(rule) == 1 and None in rule.values():
        return f"{next(iter(rule))}:"
    return str(rule)


def split_called(name: str) -> str | None:
    """The split that a part of data of this name is: `dev` is the validation split."""
    lower = name.lower()
    return next((split for split, names in _CALLED.items() if lower in names), None)


def assign(given: Mapping[str, str], parts: Sequence[str], seed: int) -> Assignment:
    """The rules of a run: those `given`, and for the rest what the names of the `parts` say.

    Where the data have no validation split and nothing is given, one is drawn. Raises UserError
    where a part is missing, where no rows would train or validate, or where splits share rows.
    """
    own = _own(parts)
    base = own.get(TRAIN) or (parts[0] if len(parts) == 1 else None)
    if not given:
        return _unasked(own, base, parts, seed)
    rules = {}
    for split, text in given.items():
        rule = parse_rule(text)
        if rule.base is None:
            if base is None:
                raise UserError(
                    f"--split {split}={text}: the data have no part called train, but "
                    f"{', '.join(parts)}; name one of them, such as {parts[0]}[{rule.inner}]"
                )
            rule = dataclasses.replace(rule, base=base)
        if rule.base not in parts:
            raise UserError(
                f"--split {split}={text}: the data have no split called {rule.base!r}, but "
                f"{', '.join(parts)}{suggestion(str(rule.base), parts)}"
            )
        rules[split] = rule
    claimed = {rule.base for rule in rules.values()}
    rules |= {
        split: Rule(part)
        for split, part in own.items()
        if split not in rules and part not in claimed
    }
    for split in (TRAIN, VALIDATION):
        if split not in rules:
            raise UserError(f"--split names no rows for {split}; add --split {split}=…: {_FORMS}")
    ordered = {split: rules[split] for split in SPLITS if split in rules}
    _check(ordered)
    return Assignment(ordered)


def _own(parts: Sequence[str]) -> dict[str, str]:
    by_name = {part.lower(): part for part in reversed(parts)}
    found = {}
    for split, names in _CALLED.items():
        part = next((by_name[name] for name in names if name in by_name), None)
        if part is not None:
            found[split] = part
    return found


def _unasked(
    own: Mapping[str, str], base: str | None, parts: Sequence[str], seed: int
) -> Assignment:
    if TRAIN in own and VALIDATION in own:
        return Assignment({split: Rule(part) for split, part in own.items()})
    if base is None or (TRAIN not in own and len(own) > 1):
        raise UserError(
            f"the data have the splits {', '.join(parts)}, and none is called train; say which "
            "rows train and validate, such as --split train=NAME --split validation=NAME"
        )
    drawn = f"drawn by class with seed {seed}; --split says otherwise"
    if TEST in own and own[TEST] != base:
        rules = {TRAIN: Rule(base, share=0.9), VALIDATION: Rule(base, share=0.1)}
        note = f"the data have no validation split: a tenth of {base} validates, {drawn}"
        return Assignment(rules | {TEST: Rule(own[TEST])}, note)
    rules = {
        TRAIN: Rule(base, share=0.8),
        VALIDATION: Rule(base, share=0.1),
        TEST: Rule(base, share=0.1),
    }
    return Assignment(
        rules, f"the data have one split: 80 % of its rows train, 10 % validate, 10 % test, {drawn}"
    )


def _check(rules: Mapping[str, Rule]) -> None:
    """Whether no row is in two splits."""
    for base in dict.fromkeys(rule.base for rule in rules.values()):
        same = {split: rule for split, rule in rules.items() if rule.base == base}
        shares = {split: rule.share for split, rule in same.items() if rule.share is not None}
        if len(same) > 1 and 0 < len(shares) < len(same):
            raise UserError(
                f"--split takes shares and rows of {base} at once ({_written(same)}), which cannot "
                "be kept apart; use either"
            )
        if math.fsum(share or 0 for share in shares.values()) > 1 + 1e-9:
            raise UserError(
                f"--split takes more than all rows of {base} ({_written(same)}); "
                "the shares must not add up to more than 1"
            )
        ordered = sorted(same.items(), key=lambda item: item[1].start or 0)
        for (first, one), (second, other) in itertools.pairwise(ordered):
            ends = math.inf if one.stop is None else one.stop
            if not shares and ends > (other.start or 0):
                raise UserError(
                    f"--split {first}={one} and {second}={other} share rows; "
                    "a row can be in one split only"
                )


def _written(rules: Mapping[str, Rule]) -> str:
    return ", ".join(f"{split}={rule}" for split, rule in rules.items())
