"""The package is sans-IO, and stays so."""

import ast
from pathlib import Path

import gossipml.wire

ALLOWED = {
    "__future__", "dataclasses", "enum", "struct", "sys", "types", "typing", "typing_extensions",
    "zlib", "collections", "isal", "msgspec", "gossipml",
}  # fmt: skip
FOLDER = Path(gossipml.wire.__file__).parent


def imported(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_it_imports_neither_networks_nor_clocks_nor_arrays():
    names = {name for path in FOLDER.glob("*.py") for name in imported(path)}
    assert {name.partition(".")[0] for name in names} <= ALLOWED
    own = {name for name in names if name.startswith("gossipml.")}
    assert all(name.startswith(("gossipml.wire", "gossipml.errors")) for name in own)


def test_all_names_every_export():
    public = {name for name in vars(gossipml.wire) if not name.startswith("_")}
    modules = {path.stem for path in FOLDER.glob("*.py")}
    assert set(gossipml.wire.__all__) == public - modules
