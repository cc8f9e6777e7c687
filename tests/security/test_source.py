"""What our own code never does with what it reads."""

import ast
from pathlib import Path

import pytest

import xmtc

PACKAGE = Path(xmtc.__file__).parent
FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
HARMLESS = {"UnpicklingError"}  # what torch.load raises
# processes that a test starts talk to it in pickles of its own
EXEMPT = {"testing/distributed.py"}
FILES = sorted({str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")} - EXEMPT)


def _name(node):
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def findings(source):
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            taken = {alias.name for alias in node.names}
            names = taken if isinstance(node, ast.Import) else {node.module or ""} if taken - HARMLESS else set()
            found += [f"line {node.lineno}: imports {n}" for n in names if n.split(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        name, words = _name(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in FORBIDDEN:
            found.append(f"line {node.lineno}: {name}")
        if name == "torch.load" and words.get("weights_only") != "True":
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        if words.get("allow_pickle") == "True" or words.get("shell") == "True":
            found.append(f"line {node.lineno}: {name} with allow_pickle or shell")
        if name.endswith("extractall"):
            found.append(f"line {node.lineno}: extractall")
    return found


@pytest.mark.parametrize("name", FILES)
def test_no_pickle_eval_shell_or_blind_unpacking(name):
    assert findings((PACKAGE / name).read_text()) == []


def test_what_is_exempt_is_there_and_needs_it():
    for name in EXEMPT:
        assert any(line.endswith("imports pickle") for line in findings((PACKAGE / name).read_text()))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "eval('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
        "tar.extractall()",
        "os.system('ls')",
    ],
)
def test_each_would_be_found(line):
    assert findings(line)
