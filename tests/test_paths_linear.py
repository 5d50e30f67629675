"""Linear time, counted in the steps of a backtracking matcher."""

from __future__ import annotations

import re
import subprocess
import sys
from re import _constants as op  # the expressions' own parser, for counting steps
from re import _parser

import pytest
from hypothesis import given
from path_patterns import pattern_and_path, written

from asgi_infra.globs import Globs


class Steps:
    """Counts its steps as the real one takes them; it knows only what our expressions consist of."""

    def __init__(self, regex, text):
        self.text, self.count = text, 0
        self.matched = next(self.run(list(_parser.parse(regex.pattern, regex.flags)), 0), None) is not None

    def run(self, nodes, at):
        if not nodes:
            yield at
            return
        for end in self.node(*nodes[0], at):
            yield from self.run(nodes[1:], end)

    def node(self, kind, value, at):
        self.count += 1
        if kind in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            if at < len(self.text) and self.one(kind, value, ord(self.text[at])):
                yield at + 1
        elif kind is op.MIN_REPEAT or kind is op.MAX_REPEAT or kind is op.POSSESSIVE_REPEAT:
            yield from self.repeat(kind, *value, at)
        elif kind is op.ATOMIC_GROUP:
            yield from [end for end in [next(self.run(list(value), at), None)] if end is not None]
        elif kind is op.SUBPATTERN:
            yield from self.run(list(value[-1]), at)
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from self.run(list(branch), at)
        elif kind is op.ASSERT or kind is op.ASSERT_NOT:
            if (next(self.run(list(value[1]), at), None) is not None) == (kind is op.ASSERT):
                yield at
        else:
            assert (kind, value) == (op.AT, op.AT_END_STRING)
            if at == len(self.text):
                yield at

    def repeat(self, kind, low, high, body, at):
        ends = [at] if low == 0 else []
        [(single, value)] = list(body)
        if kind is op.MIN_REPEAT and ends:
            yield at
        while len(ends) < high and next(self.node(single, value, at), None) is not None:
            at += 1
            ends.append(at)
            if kind is op.MIN_REPEAT:
                yield at
        if kind is op.MAX_REPEAT:
            for end in reversed(ends):
                self.count += 1
                yield end
        elif kind is op.POSSESSIVE_REPEAT and ends:
            yield ends[-1]

    def one(self, kind, value, char):
        match kind:
            case op.LITERAL:
                return char == value
            case op.NOT_LITERAL:
                return char != value
            case op.ANY:
                return True
        negated = value[0][0] is op.NEGATE
        spans = [(v, v) if k is op.LITERAL else v for k, v in value[negated:]]
        return negated != any(low <= char <= high for low, high in spans)


HOSTILE = [
    ("/*a*a*a*a*b", lambda n: "/" + "a" * n),
    ("/*?*?*?*[!a]", lambda n: "/" + "a" * n),
    ("/**/a/**/a/**/b", lambda n: "/a" * n),
    ("/**/*/*/*/*b", lambda n: "/a" * n),
    ("/**/*a*a/**/*a*b/**/c", lambda n: "/aaaaaaaa" * (n // 8)),
    ("/**/**/**/a*b", lambda n: "/" * n),
    ("/{a,*a}{a,*a}{a,*a}{a,*a}*b", lambda n: "/" + "a" * n),
    ("/a/**/*a*a*b", lambda n: "/a/" + "a" * n),
    ("prefix:/" + "a" * 90, lambda n: "/" + "a" * n),
]


def growth(regex, path):
    small, large = Steps(regex, path(104)), Steps(regex, path(832))
    assert small.matched == large.matched == (regex.match(path(104)) is not None)
    return large.count / small.count


@pytest.mark.parametrize(("pattern", "path"), HOSTILE)
def test_matching_takes_a_number_of_steps_that_grows_with_the_path_and_no_faster(pattern, path):
    assert growth(Globs(pattern).wild, path) < 9  # for a path of eight times the length


def test_the_count_of_steps_tells_a_backtracking_expression():
    assert growth(re.compile(r"/[^/]*a[^/]*b\Z"), HOSTILE[0][1]) > 40


@given(pattern_and_path())
def test_the_count_of_steps_is_of_the_matching_that_is_done(pair):
    segments, path = pair
    globs = Globs(written(segments))
    if globs.wild is not None:
        assert Steps(globs.wild, path).matched == (globs.wild.match(path) is not None)


def test_hostile_patterns_and_paths_of_100_kb_come_to_an_end():
    code = f"""
from asgi_infra.globs import Globs
from asgi_infra.paths import PathRules
paths = ["/" + "a" * 100_000, "/a" * 50_000, "/" * 100_000, "/aaaaaaaa" * 11_000, "/." * 50_000]
for pattern in {[pattern for pattern, _ in HOSTILE]!r}:
    rules, globs = PathRules(pattern), Globs(pattern)
    for path in paths:
        rules.skipped(path), globs.matches(path)
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("done\n", "")
