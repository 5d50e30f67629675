from __future__ import annotations

import copy
import pickle
import re
import threading

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from path_patterns import any_paths, escaped, has_dot_segment, literal, oracle, pattern_and_path, patterns, written

from asgi_infra.errors import ConfigurationError
from asgi_infra.globs import Globs
from asgi_infra.paths import FEATURES, PathRules, app_path

EVERY = frozenset(FEATURES)


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


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ({"acess_log": ["/a"]}, "exclude: 'acess_log' is none of"),
        ({"acess_log": ["/a"]}, "; did you mean 'access_log'?"),
        ({"metrics": ["a"]}, "exclude['metrics'][0]: malformed path pattern 'a'"),
    ],
)
def test_what_is_wrong_in_a_middlewares_exclude_is_told_under_that_name(exclude, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        PathRules.of(exclude)


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
