"""What a chapter derives is what the library exports: the same syntax tree, docstrings apart."""

import ast
import re

import pytest

from book.tools.chapters import ROOT, code_cells, notebooks

DERIVED = re.compile(r"Derived in ((?:book|notebooks)/[\w-]+\.md)\.")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(source: str) -> dict[str, list[Definition]]:
    """The functions and classes that a module or a chapter defines at top level."""
    found: dict[str, list[Definition]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, Definition):
            found.setdefault(node.name, []).append(node)
    return found


def bare(node: Definition) -> str:
    """The syntax tree of a definition as text, without any docstring in it."""
    tree = ast.parse(ast.unparse(node))
    for inner in ast.walk(tree):
        if isinstance(inner, Definition) and ast.get_docstring(inner) is not None:
            inner.body = inner.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def home(node: Definition) -> str | None:
    """The chapter that a docstring says its function was derived in."""
    words = " ".join((ast.get_docstring(node) or "").split())
    found = DERIVED.search(words)
    if "Derived in" in words and found is None:
        return "a chapter that its docstring does not name as `Derived in book/<chapter>.md.`"
    return found.group(1) if found else None


def drift(modules: dict[str, str], chapters: dict[str, str]) -> list[str]:
    """All disagreements between library and book: both map a file's name to its source."""
    wrong, derived = [], set()
    shown = {name: definitions(source) for name, source in chapters.items()}
    public = set()
    for module, source in modules.items():
        top = [node for nodes in definitions(source).values() for node in nodes]
        public |= {node.name for node in top if not node.name.startswith("_")}
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, Definition) or home(node) is None:
                continue
            chapter, where = home(node), f"{module}: {node.name}"
            derived.add((chapter, node.name))
            if not any(node.lineno == other.lineno for other in top):
                wrong.append(f"{where} is derived in {chapter} but not defined at the module's top level")
            elif chapter not in shown:
                wrong.append(f"{where} is derived in {chapter}, which is no chapter with code")
            elif node.name not in shown[chapter]:
                wrong.append(f"{where} is not defined in {chapter}")
            elif any(bare(node) != bare(other) for other in shown[chapter][node.name]):
                wrong.append(f"{where} differs from {chapter}")
    for chapter, names in shown.items():
        wrong += [
            f"{chapter} defines {name}, a name of accentlib that does not say it is derived there"
            for name in names
            if name in public and (chapter, name) not in derived
        ]
    return wrong


def library() -> dict[str, str]:
    files = sorted((ROOT / "accentlib").rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


def book() -> dict[str, str]:
    return {path.relative_to(ROOT).as_posix(): "\n\n".join(code_cells(path)) for path in notebooks()}


def test_book_and_library_agree():
    assert drift(library(), book()) == []


def test_a_changed_copy_of_any_derived_function_is_noticed():
    """Change each derived function of the real library by one statement: each must be reported."""
    chapters = book()
    for module, source in library().items():
        tree = ast.parse(source)
        for node in tree.body:
            if isinstance(node, Definition) and home(node) in chapters:
                changed = ast.parse(source)
                twin = next(other for other in changed.body if getattr(other, "lineno", 0) == node.lineno)
                twin.body.append(ast.parse("changed = True").body[0])
                found = drift({module: ast.unparse(changed)}, chapters)
                assert f"{module}: {node.name} differs from {home(node)}" in found


MODULE = '''
def half(x):
    """Half of x. Derived in
    book/one.md."""
    return x / 2

def helper(x):
    return x
'''
SHOWN = "def half(x):\n    # a comment is no part of it\n    return x / 2\n"


@pytest.mark.parametrize(
    ("chapter", "complaint"),
    [
        (SHOWN, None),
        (SHOWN.replace("return", '"""Half."""\n    return'), None),
        (SHOWN.replace("/ 2", "* 0.5"), "differs from book/one.md"),
        (SHOWN.replace("half(x)", "half(x, y=1)"), "differs from book/one.md"),
        (SHOWN + "\ndef half(x):\n    return x\n", "differs from book/one.md"),
        ("half = 1\n", "is not defined in book/one.md"),
        ("if True:\n    def half(x):\n        return x / 2\n", "is not defined in book/one.md"),
        (SHOWN + "\ndef helper(x):\n    return x\n", "book/one.md defines helper"),
    ],
)
def test_drift_is_found(chapter, complaint):
    found = drift({"accentlib/a.py": MODULE}, {"book/one.md": chapter})
    assert found == [] if complaint is None else len(found) == 1 and complaint in found[0]


def test_a_chapter_that_is_not_there_or_not_named_is_found():
    assert "no chapter with code" in drift({"a.py": MODULE}, {})[0]
    vague = MODULE.replace("book/one.md", "the first chapter")
    assert len(drift({"a.py": vague}, {"book/one.md": SHOWN})) == 2


def test_a_method_cannot_be_derived():
    method = "class A:\n    " + MODULE.replace("\n", "\n    ")
    assert any("top level" in line for line in drift({"a.py": method}, {"book/one.md": SHOWN}))
