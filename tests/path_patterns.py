"""Path patterns as data, how they are written, paths to try, and an independent matcher."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

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
