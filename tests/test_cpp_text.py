"""Whatever the user calls an env or a key, C++ reads it as it was meant."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from envpool_protocol import compiler
from envpool_protocol.cpp_text import c_string, identifier

# Strings


def read_back(literal: str) -> bytes:
    """The bytes of a C++ literal made of printable characters and three-digit octal escapes."""
    pieces = re.findall(r'"(?:[^"\\]|\\[0-7]{3})*"', literal)
    assert " ".join(pieces) == literal, "not just such pieces"
    return b"".join(ast.literal_eval(f"b{piece}") for piece in pieces)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_c_string_keeps_every_byte(text: str) -> None:
    assert read_back(c_string(text)) == text.encode()


@given(st.text(st.sampled_from('"\\?/\n\r\t\0=#%<:é01')))
def test_c_string_leaves_nothing_that_cpp_reads_in_its_own_way(text: str) -> None:
    literal = c_string(text)
    assert literal.isascii() and literal.isprintable() and "?" not in literal
    assert read_back(literal) == text.encode()


NASTY = [
    "",
    'a"b',
    "a\\",
    "??/",
    "\\n",
    "\n",
    "\x01" + "2",
    "\u00e9" + "1",
    "//",
    "/*",
    'R"(x)"',
    "%s",
    "\U0001f600",
]


def test_compiler_reads_c_strings_as_they_were_meant(tmp_path: Path) -> None:
    texts = [*NASTY, "".join(map(chr, range(256))), "long é" * 20_000]
    table = ",\n".join(f"{{{c_string(text)}, sizeof({c_string(text)}) - 1}}" for text in texts)
    source = f"""#include <cstdio>
        struct {{ const char* bytes; unsigned long size; }} const texts[] = {{ {table} }};
        int main() {{
          for (auto& text : texts) std::fwrite(text.bytes, 1, text.size, stdout), std::puts("|");
        }}"""
    (tmp_path / "main.cc").write_text(source, "utf-8")
    command = [compiler.find_compiler().path, "-std=c++20", "-Wall", "-Werror", "main.cc", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    said = subprocess.run([tmp_path / "main"], capture_output=True, check=True, timeout=60).stdout
    assert said == b"".join(text.encode() + b"|\n" for text in texts)


# Names


NAMES = st.from_regex(r"[A-Za-z0-9_x2de.-]{1,12}", fullmatch=True)


@given(NAMES, NAMES)
def test_two_names_never_become_one_identifier(one: str, two: str) -> None:
    made = identifier(one), identifier(two)
    assert all(f"_{name}".isidentifier() and name.isascii() for name in made)
    assert (made[0] == made[1]) == (one == two)


@given(st.from_regex(r"[a-z0-9_x.-]{1,8}", fullmatch=True))
def test_identifier_can_be_read_back(name: str) -> None:
    escape = re.compile(r"_x([0-9a-f]+)_")
    assert escape.sub(lambda found: chr(int(found[1], 16)), identifier(name)) == name


def test_plain_names_stay_as_they_are() -> None:
    plain = ["MyEnv", "my_env_2", "_x", "a_x2"]
    assert list(map(identifier, plain)) == plain
    assert identifier("CartPole-v1") == "CartPole_x2d_v1" and identifier("a_x2d_b") != identifier("a-b")
