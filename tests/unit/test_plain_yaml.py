"""YAML without traps: what a person wrote is what is read, and nothing blows up."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.errors import ConfigurationError
from tacit.plain_yaml import DEEPEST, LARGEST, plain_value, read_file, read_text

PLAIN = [
    ("a: 1e-5", 1e-5),
    ("a: 1.0e-5", 1e-5),
    ("a: .5", 0.5),
    ("a: -3", -3),
    ("a: 010", 10),
    ("a: true", True),
    ("a: True", True),
    ("a: null", None),
    ("a: ~", None),
    ("a:", None),
    ("a: off", "off"),
    ("a: no", "no"),
    ("a: cuda:1", "cuda:1"),
    ("a: 2024-01-01", "2024-01-01"),
    ("a: 1:30", "1:30"),
    ("a: 0x10", "0x10"),
    ("a: .inf", ".inf"),
    ("a: <<", "<<"),
    ("a: 'true'", "true"),
    ('a: "1"', "1"),
    ("a: |\n  1\n", "1\n"),
    ("a: [1, any]", [1, "any"]),
    ("a: {b: {c: [d]}}", {"b": {"c": ["d"]}}),
]


@pytest.mark.parametrize(("text", "found"), PLAIN)
def test_a_value_is_what_it_looks_like(text, found):
    value = read_text(text)["a"]
    assert value == found
    assert type(value) is type(found)


def test_an_empty_text_says_nothing():
    assert read_text("# a comment\n") is None


BAD = [
    ("a: 1\nb: 2\na: 3", "line 3: a stands here for the second time"),
    ("a: {b: 1, b: 1}", "line 1: b stands here for the second time"),
    ("a: 1\n'a': 2", "line 2: a stands here for the second time"),
    ("a: &x 1\nb: *x", "line 2: *x: write the value out"),
    ("a: &x {b: 1}\nc:\n  <<: *x", "line 3: *x"),
    ("a: !!python/object/apply:os.system [id]", "line 1: tag:yaml.org,2002:python/object/apply"),
    ("a: !!python/name:os.system", "line 1: tag:yaml.org,2002:python/name:os.system: leave"),
    ("a: !!timestamp 2024-01-01", "line 1: tag:"),
    ("a: !own 1", "line 1: !own: leave tags out"),
    ("!!map {a: 1}", "line 1: tag:"),
    ("? [a]\n: 1", "line 1: a key must be a word"),
    ("a: b: c", "line 1: mapping values are not allowed here"),
    ("\ta: 1", "line 1: found character '\\t' that cannot start any token"),
    ("a: [1", "line 1: expected ',' or ']'"),
    ("--- a\n--- b", "line 2: but found another document"),
    ("a: \x00", "is no YAML: unacceptable character #x0000"),
    ('a: "\\UFFFFFFFF"', "is no YAML: "),
    ("%YAML " + "9" * 5000 + ".1\n---\na: 1", "is no YAML: "),
    ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"line 1: more than {DEEPEST} levels"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_what_is_no_plain_yaml_is_refused(text, message):
    with pytest.raises(ConfigurationError) as caught:
        read_text(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_as_deep_as_is_allowed():
    value = read_text("[" * DEEPEST + "]" * DEEPEST)
    for _ in range(DEEPEST - 1):
        (value,) = value
    assert value == []


def test_pyyaml_itself_would_take_what_is_refused_here():
    """What the reading above is for: were PyYAML to refuse by itself, it could go."""
    assert yaml.safe_load("a: 1\na: 2") == {"a": 2}
    assert yaml.safe_load("a: off\nb: 1e-5\nc: 010") == {"a": False, "b": "1e-5", "c": 8}
    assert yaml.safe_load("a: &x 1\nb: *x") == {"a": 1, "b": 1}


def refusal(text):
    """What is said about a text, nothing where it is read."""
    try:
        read_text(text)
    except ConfigurationError as error:
        return str(error)
    return ""


def bomb(levels=9, each=9):
    """A billion laughs: each line stands for nine of the line before it."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * each)}]" for n in range(1, levels + 1)]
    return "\n".join(lines)


HEAVY = {
    "brackets": "[" * LARGEST,
    "braces": "{" * LARGEST,
    "dashes": "- " * (LARGEST // 2),
    "questions": "? " * (LARGEST // 2),
    "bomb": bomb(),
    "digits": "a: " + "9" * (LARGEST - 3),
    "sixties": "a: " + ":".join(["1"] * (LARGEST // 2 - 2)),
    "items": "[" + "a," * (LARGEST // 2 - 1) + "]",
    "keys": "".join(f"k{n}: 1\n" for n in range(5000)),
}


@pytest.mark.parametrize("name", sorted(HEAVY))
def test_nothing_takes_long(name):
    before = time.process_time()
    assert len(refusal(HEAVY[name])) < 200
    assert time.process_time() - before < 20  # a bomb takes gigabytes and hours


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab1 .-:#?[]{},&*!|>'\"%@`\\\n\t~<=é\x00\ud800"), max_size=40)
)
def test_whatever_stands_there_is_read_or_refused(text):
    assert "\n" not in refusal(text)


@given(st.text(max_size=40))
def test_a_text_in_quotation_marks_is_itself(text):
    quoted = yaml.safe_dump({"a": text}, default_style='"', allow_unicode=False)
    assert read_text(quoted) == {"a": text}


@pytest.mark.parametrize(
    ("text", "found"), [("1e3", 1e3), ("::", "::"), ("", None), ("[1]", "[1]")]
)
def test_a_value_by_itself(text, found):
    assert plain_value(text) == found


def test_a_file_is_named_with_the_line(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(ConfigurationError) as caught:
        read_file(path)
    assert str(caught.value) == f"{path}: line 2: a stands here for the second time"


def test_a_file_in_another_code_is_refused(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_bytes("a: é".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"site\.yaml: is no text in UTF-8"):
        read_file(path)


@pytest.mark.parametrize(("name", "says"), [("none", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, says):
    with pytest.raises(ConfigurationError, match=f"cannot be read: {says}"):
        read_file(tmp_path / name)


def test_a_large_file_is_not_even_read(tmp_path):
    path = tmp_path / "site.yaml"
    with path.open("wb") as file:
        file.truncate(10 << 30)  # sparse: ten gigabytes that no test machine would hold
    with pytest.raises(ConfigurationError, match="has more than 65536 bytes"):
        read_file(path)


def test_an_endless_file_is_not_read_to_its_end():
    with pytest.raises(ConfigurationError, match="has more than 65536 bytes"):
        read_file(Path("/dev/zero"))
