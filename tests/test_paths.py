from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
import threading
from functools import cache
from re import _constants as op  # the expressions' own parser, for counting steps
from re import _parser

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from asgi_infra.errors import ConfigurationError
from asgi_infra.globs import Globs
from asgi_infra.paths import FEATURES, PathRules, app_path

EVERY = frozenset(FEATURES)

# The oracle. A pattern is a tuple of segments, each "**" or a tuple of atoms; it is written out for the code under
# test, and matched here by plain recursion, without reading any text.


def written(segments):
    return "".join("/" + (segment if segment == "**" else "".join(map(written_atom, segment))) for segment in segments)


def escaped(text, special):
    return "".join("\\" + char if char in special else char for char in text)


def written_atom(atom):
    match atom:
        case ("text", char):
            return escaped(char, r"*?[]{},\\")
        case ("set", negated, spans):
            inside = "".join("-".join(escaped(c, "]\\-!^[") for c in dict.fromkeys(span)) for span in spans)
            return f"[{'!' if negated else ''}{inside}]"
        case ("either", alternatives):
            return "{" + ",".join("".join(map(written_atom, atoms)) for atoms in alternatives) + "}"
        case wildcard:
            return wildcard


def oracle(segments, path):
    """Whether the segments, all of them, match the whole path."""
    if not path.startswith("/"):
        return False
    parts = tuple(path[1:].split("/"))

    @cache
    def rest(i, j):
        if i == len(segments):
            return j == len(parts)
        if segments[i] == "**":
            return rest(i + 1, j) or (j < len(parts) and rest(i, j + 1))
        return j < len(parts) and segment_oracle(segments[i], parts[j]) and rest(i + 1, j + 1)

    return rest(0, 0)


def flattened(atoms):
    """Every way to write a segment without alternatives."""
    if not atoms:
        return [()]
    first, rest = atoms[0], flattened(atoms[1:])
    heads = [flat for option in first[1] for flat in flattened(option)] if first[0] == "either" else [(first,)]
    return [head + tail for head in heads for tail in rest]


def segment_oracle(atoms, text):
    return any(flat_oracle(flat, text) for flat in flattened(atoms))


def flat_oracle(atoms, text):
    if atoms and set(atoms) == {"*"}:
        return text != ""

    @cache
    def rest(i, j):
        if i == len(atoms):
            return j == len(text)
        if atoms[i] == "*":
            return rest(i + 1, j) or (j < len(text) and rest(i, j + 1))
        return j < len(text) and one(atoms[i], text[j]) and rest(i + 1, j + 1)

    return rest(0, 0)


def one(atom, char):
    match atom:
        case ("text", wanted):
            return char == wanted
        case ("set", negated, spans):
            return negated != any(low <= char <= high for low, high in spans)
        case _:
            return True  # "?"


def literal(segments):
    """The paths that a pattern without wildcards spells out, as far as it does."""
    paths = [""]
    for segment in segments:
        flats = [("**",)] if segment == "**" else flattened(segment)
        paths = [
            f"{path}/{''.join(atom[1] for atom in flat)}"
            for path in paths
            for flat in flats
            if all(atom[0] == "text" for atom in flat)
        ]
    return set(paths)


CHARS = "ab.\u00e9\n-]{*\\\0\U0001f600"
spans = st.tuples(st.sampled_from(CHARS + "!~"), st.sampled_from(CHARS + "!~")).map(lambda pair: tuple(sorted(pair)))
simple = st.one_of(
    st.tuples(st.just("text"), st.sampled_from(CHARS)),
    st.tuples(st.just("text"), st.sampled_from("ab.")),
    st.sampled_from(["*", "?"]),
    st.tuples(st.just("set"), st.booleans(), st.lists(spans, min_size=1, max_size=3).map(tuple)),
)


def separated(atoms):
    """Drop a `*` after a `*`, which would be read as `**`."""
    return tuple(atom for i, atom in enumerate(atoms) if not (atom == "*" and i and atoms[i - 1] == "*"))


atoms = st.recursive(
    st.lists(simple, max_size=5).map(separated),
    lambda inner: st.tuples(
        inner, st.lists(inner, min_size=2, max_size=3).map(lambda options: ("either", tuple(options))), inner
    ).map(lambda parts: (*parts[0], parts[1], *parts[2])),
    max_leaves=4,
)
patterns = st.lists(st.one_of(st.just("**"), atoms, atoms), min_size=1, max_size=5).map(tuple)
segment_texts = st.one_of(
    st.text(st.sampled_from("ab"), max_size=4),
    st.text(st.sampled_from(CHARS), max_size=4),
    st.sampled_from([".", ".."]),
)
any_paths = st.lists(segment_texts, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))


def fits(draw, atom):
    match atom:
        case ("text", char):
            return char
        case ("set", negated, members):
            pool = [c for c in CHARS + "!~xyz" if one(atom, c)] if negated else [c for span in members for c in span]
            return draw(st.sampled_from(pool or ["x"]))
        case ("either", options):
            return "".join(fits(draw, inner) for inner in draw(st.sampled_from(options)))
        case "*":
            return draw(st.text(st.sampled_from("ab."), max_size=3))
        case _:
            return draw(st.sampled_from(CHARS))


@st.composite
def pattern_and_path(draw):
    """A pattern, and a path that it matches or misses by a little."""
    segments = draw(patterns)
    path = ""
    for segment in segments:
        if segment == "**":
            path += "".join("/" + draw(segment_texts) for _ in range(draw(st.integers(0, 2))))
        else:
            path += "/" + "".join(fits(draw, atom) for atom in segment)
    if draw(st.booleans()):
        return segments, path
    at = draw(st.integers(0, len(path)))
    change = draw(st.sampled_from(["", "/", "//", "a", "\n", "/.", "/..", "%2F"]))
    return segments, path[:at] + change + path[at + draw(st.integers(0, 1)) :]


def has_dot_segment(path):
    return bool({".", ".."} & set(path.split("/")[1:]))


@given(pattern_and_path())
def test_property_15_path_exclusion_agrees_with_an_independent_matcher(pair):
    segments, path = pair
    assert Globs(written(segments)).matches(path) == oracle(segments, path)


@given(patterns, any_paths)
def test_property_15_path_exclusion_agrees_on_unrelated_paths(segments, path):
    assert Globs(written(segments)).matches(path) == oracle(segments, path)


@given(st.lists(pattern_and_path(), min_size=1, max_size=4), st.data())
def test_property_15_path_exclusion_answers_for_each_feature(pairs, data):
    wanted = data.draw(st.lists(st.sampled_from([*FEATURES, "*"]), min_size=len(pairs), max_size=len(pairs)))
    features = {name: [written(s) for (s, _), n in zip(pairs, wanted, strict=True) if n == name] for name in wanted}
    rules = PathRules.of(features)
    for _, path in pairs:
        expected = set()
        for (segments, _), name in zip(pairs, wanted, strict=True):
            if path in literal(segments) or (oracle(segments, path) and not has_dot_segment(path)):
                expected |= EVERY if name == "*" else {name}
        assert rules.skipped(path) == expected
        assert rules.skipped(path) == expected, "the cached answer"


@given(any_paths, any_paths)
def test_property_15_path_exclusion_by_prefix_stops_at_segment_borders(prefix, path):
    for candidate in (path, prefix, prefix + path, prefix + path[1:]):
        below = prefix if prefix.endswith("/") else prefix + "/"
        expected = candidate == prefix or candidate.startswith(below)
        assert Globs(f"prefix:{prefix}").matches(candidate) == expected
        assert PathRules(f"prefix:{prefix}").skips(candidate, "audit") == (expected and not has_dot_segment(candidate))


@given(st.text(max_size=12))
def test_property_15_path_exclusion_reads_or_refuses_any_text(text):
    for pattern in (text, "/" + text, f"prefix:/{text}"):
        try:
            rules = PathRules(pattern)
        except ConfigurationError as error:
            message = str(error)
        else:
            message = f"{pattern!r}\n"
            assert rules.skipped("/") <= EVERY
        assert repr(pattern) in message


@given(any_paths)
def test_property_15_path_exclusion_of_an_escaped_path_matches_that_path_only(path):
    pattern = escaped(path, r"*?[]{},\\")
    assert Globs(pattern).matches(path)
    assert not any(
        Globs(pattern).matches(other) for other in (path + "/", path + "x", path + "\n", path[1:], path[:-1])
    )


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (
            "/health",
            ["/health"],
            ["/health/", "/healthcare", "/Health", "//health", "/health\n", "/health\0", "health"],
        ),
        ("/health/", ["/health/"], ["/health", "/health//"]),
        ("/", ["/"], ["", "//", "/a"]),
        ("/*", ["/a", "/a.b", "/\n", "/\0", "/\u00e9"], ["/", "/a/", "//a", ""]),
        ("/**", ["/", "/a", "//", "/a/b/", "/\n"], ["", "a", "*"]),
        ("/static/**", ["/static", "/static/", "/static/a/b", "/static//x"], ["/statics", "/a/static", "/static\n"]),
        ("/**/edit", ["/edit", "/a/edit", "/a//edit", "/edit/edit"], ["/edit/", "/aedit", "/a/edit\n"]),
        ("/a/**/b", ["/a/b", "/a/x/y/b", "/a/b/b", "/a//b"], ["/ab", "/a/xb", "/a/b/c"]),
        ("/**/", ["/", "/a/", "//"], ["/a", ""]),
        ("/**/**", ["/", "/a/b"], [""]),
        ("/a*b*c", ["/abc", "/axbxc", "/abcbc"], ["/acb", "/ab/c", "/abcx"]),
        ("/{css,js/lib}/*", ["/css/a", "/js/lib/a"], ["/js/a", "/css/lib/a"]),
        ("/x{,y{1,2}}", ["/x", "/xy1", "/xy2"], ["/xy", "/x{,y1}"]),
        ("/a{,/**}", ["/a", "/a/", "/a/b"], ["/ab"]),
        ("/{*,a}*", ["/a", "/b"], ["/", "/a/b"]),
        ("/[a-c]", ["/a", "/b", "/c"], ["/d", "/A", "/-", "/", "/ab"]),
        ("/[!a]", ["/b", "/\n"], ["/a", "//", "/"]),
        ("/[+-9]", ["/+", "/-", "/0"], ["//", "/:"]),
        (r"/[\]\-a-]", ["/]", "/-", "/a"], ["/b", "/\\"]),
        (r"/\*\?\[\{\}\\", [r"/*?[{}\ ".strip()], ["/axa"]),
        ("/a,b", ["/a,b"], ["/a"]),
        ("/caf\u00e9?", ["/caf\u00e9s", "/caf\u00e9\U0001f600"], ["/cafe\u0301s", "/caf\u00e9"]),
        ("prefix:/internal", ["/internal", "/internal/", "/internal/x", "/internal//x"], ["/internals", "/a/internal"]),
        ("prefix:/a*", ["/a*", "/a*/b"], ["/ab", "/a"]),
        ("prefix:/a/", ["/a/", "/a/b"], ["/a"]),
        ("prefix:/", ["/", "/a", "//"], ["", "*"]),
    ],
)
def test_property_15_path_exclusion_of_neighbours(pattern, matching, others):
    rules, globs = PathRules([pattern]), Globs([pattern])
    assert [path for path in matching + others if globs.matches(path)] == matching
    assert [path for path in matching + others if rules.skips(path, "tracing")] == matching


@pytest.mark.parametrize("path", ["/static/../admin", "/static/..", "/static/./a", "/static/a/.", "/static//../x"])
def test_property_15_path_exclusion_never_skips_dot_segments_through_a_wildcard(path):
    patterns = ["/static/**", "prefix:/static", "/**", "/static/*/*", "/static/?*", "/static/[.]{[.],/admin}"]
    assert not PathRules(patterns).skipped(path)
    assert Globs(patterns).matches(path)
    assert PathRules([*patterns, path]).skipped(path) == EVERY


def test_property_15_path_exclusion_takes_dots_within_a_segment_as_text():
    assert PathRules("/**").skipped("/.well-known/a..b/..c/...") == EVERY


@pytest.mark.parametrize(
    ("pattern", "column", "why"),
    [
        ("", 1, "starts with '/'"),
        ("health", 1, "starts with '/'"),
        ("{/a,/b}", 1, "starts with '/'"),
        ("prefix:", 8, "starts with '/'"),
        ("prefix:x", 8, "starts with '/'"),
        ("/a/[bc", 4, "bracket is not closed"),
        ("/a[b/c]", 3, "bracket is not closed"),
        ("/[a-", 2, "bracket is not closed"),
        ("/[]", 2, "empty"),
        ("/[!]", 2, "empty"),
        ("/[^a]", 3, "[!...]"),
        ("/[xz-a]", 4, "reversed"),
        ("/{a,b", 2, "never closed"),
        ("/{a,{b,c}", 2, "never closed"),
        ("/items/{id}", 8, "alternatives"),
        ("/a}", 3, "nothing to close"),
        ("/a]", 3, "nothing to close"),
        ("/a**", 3, "whole segment"),
        ("/***", 2, "whole segment"),
        ("/x{a,**}", 6, "whole segment"),
        ("/a\\", 3, "backslash"),
        (r"/\d", 2, "backslash"),
        ("/[\\", 3, "backslash"),
        ("/" + "{a,b}" * 11, 52, "1024"),
        ("/" + "{a,b}" * 100, 52, "1024"),
        ("/" + "a" * 1024, 1025, "1024"),
    ],
)
def test_a_malformed_pattern_is_refused_at_the_column_of_the_fault(pattern, column, why):
    for make in (lambda: PathRules(["/ok", pattern]), lambda: Globs(["/ok", pattern])):
        with pytest.raises(ConfigurationError) as caught:
            make()
        first, shown, caret = str(caught.value).split("\n")
        assert f"[1]: malformed path pattern {repr(pattern)[:60]}" in first
        assert f"column {column}: " in first
        assert why in first
        assert caret.strip() == "^"
        assert shown[caret.index("^") :] == pattern[column - 1 :][:40]


def test_a_caret_stays_in_its_column_behind_characters_that_do_not_print():
    with pytest.raises(ConfigurationError) as caught:
        PathRules("/a\n\0[b")
    _, shown, caret = str(caught.value).split("\n")
    assert shown[caret.index("^")] == "["


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exclude": None}, "exclude must be a pattern such as '/health', or several, not None"),
        ({"exclude": 7}, "exclude must be"),
        ({"exclude": [b"/a"]}, r"exclude[0] must be a pattern such as '/health' (a str), not a value of type bytes"),
        ({"exclude": {"metrics": "/a"}}, "exclude must be"),
        ({"features": {"metrics": None}}, "features['metrics'] must be"),
        ({"features": {"metrics": ["/a", "b"]}}, "features['metrics'][1]: malformed path pattern 'b'"),
        ({"features": ["/a"]}, "features must map names of features to patterns"),
        ({"features": {"access-log": "/a"}}, "did you mean 'access_log'?"),
        ({"features": {"Metric": "/a"}}, "did you mean 'metrics'?"),
        ({"features": {"zzz": "/a"}}, "'zzz' is none of request_id, tracing, metrics, access_log, audit, tokens"),
        ({"features": {7: "/a"}}, "7 is none of"),
        ({"max_cached": -1}, "max_cached must be a whole number from 0 up, not -1"),
        ({"max_cached": True}, "max_cached"),
        ({"max_cached": 1.0}, "max_cached"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        PathRules(**arguments)


def test_rules_are_made_from_what_a_middleware_is_given():
    rules = PathRules(["/a"])
    assert PathRules.of(rules) is rules
    assert PathRules.of("/a") == PathRules.of(["/a"]) == PathRules.of({"*": "/a"}) == rules
    assert PathRules.of(None) == PathRules() == PathRules.of({}) == PathRules.of([])
    assert PathRules.of({"metrics": "/a"}).skipped("/a") == {"metrics"}


def test_rules_are_values():
    rules = PathRules(["/a"], features={"audit": ["/b", "/a"], "metrics": "/b"})
    same = PathRules(features={"metrics": ["/b"], "audit": "/b", "*": ["/a"]})
    assert rules == same
    assert hash(rules) == hash(same)
    assert rules != PathRules(["/a"])
    assert rules != "/a"
    assert eval(repr(rules)) == copy.deepcopy(rules) == pickle.loads(pickle.dumps(rules)) == rules
    assert repr(PathRules()) == "PathRules()"
    assert repr(Globs("/a")) == "Globs(['/a'])"


def test_rules_are_false_when_there_are_none():
    assert not PathRules()
    assert not Globs(())
    assert not PathRules().skipped("/")
    assert PathRules(features={"audit": "/a"})
    assert Globs("/a")


def test_the_same_pattern_for_several_features_skips_all_of_them():
    rules = PathRules(features={"audit": "/a/*", "metrics": ["/a/*", "/a/b"], "tracing": "/a/b"})
    assert rules.skipped("/a/b") == {"audit", "metrics", "tracing"}
    assert rules.skipped("/a/c") == {"audit", "metrics"}


@pytest.mark.parametrize("max_cached", [0, 1, 7])
def test_the_cache_is_bounded_and_never_holds_long_paths(max_cached):
    rules = PathRules("/a/**", max_cached=max_cached)
    paths = [f"/{folder}/{number}" for number in range(20) for folder in "ab"]
    for path in [*paths, "/a/" + "x" * 1022]:
        assert rules.skips(path, "audit") == path.startswith("/a/")
        assert len(rules._cache) <= max_cached
        assert all(len(known) <= 1024 for known in rules._cache)


def test_threads_share_rules():
    rules = PathRules(["/a/**"], max_cached=5)
    wrong = []

    def ask():
        for number in range(2000):
            folder = "ab"[number % 2]
            if rules.skips(f"/{folder}/{number % 11}", "audit") != (folder == "a") or len(rules._cache) > 5:
                wrong.append(number)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("root_path", "path", "expected"),
    [
        ("", "/x", "/x"),
        ("", "", ""),
        (None, "/x", "/x"),
        ("/api", "/api/x", "/x"),
        ("/api", "/x", "/x"),
        ("/api", "/apifoo", "/apifoo"),
        ("/api", "/api", "/"),
        ("/api", "/api/", "/"),
        ("/api", "/api//x", "//x"),
        ("/api", "/api/api/x", "/api/x"),
        ("/api", "/v1/api/x", "/v1/api/x"),
        ("/api/", "/api/x", "/x"),
        ("/", "/x", "/x"),
        ("/caf\u00e9", "/caf\u00e9/x", "/x"),
    ],
)
def test_property_15_path_exclusion_is_on_the_path_without_root_path(root_path, path, expected):
    assert app_path({"type": "http", "path": path, "root_path": root_path}) == expected


def test_property_15_path_exclusion_does_without_root_path():
    assert app_path({"path": "/x"}) == "/x"


@given(any_paths, any_paths)
@example("/api", "/")
def test_property_15_path_exclusion_under_a_mount_sees_what_the_mount_sees(root_path, path):
    assume(root_path.rstrip("/") and not root_path.endswith("/"))
    assert app_path({"path": root_path + path, "root_path": root_path}) == path


# Linear time, counted: a backtracking matcher for the parsed expressions, which counts its steps as the real one takes
# them. It knows only what such expressions consist of.


class Steps:
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
