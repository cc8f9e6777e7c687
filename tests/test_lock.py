"""requirements.lock lists all that `pip install .[all]` brings, in the versions we develop with, with checksums."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-cpu.lock")


def plain(name):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def read(name):
    """Package -> (version, its hashes)."""
    found = {}
    for entry in (ROOT / name).read_text().replace("\\\n", " ").splitlines():
        if entry and not entry.startswith("#"):
            package, _, rest = entry.partition("==")
            found[plain(package)] = rest.split()[0], re.findall(r"--hash=sha256:([0-9a-f]{64})\b", rest)
    return found


def constraints():
    lines = (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    return {plain(name): version for name, _, version in lines}


def asked_for():
    """Packages that pyproject.toml names, for `.[all]`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"\[(.*)\]", project["optional-dependencies"]["all"][0])[1].split(",")
    return {plain(word) for words in (project["dependencies"], *(project["optional-dependencies"][e] for e in extras))
            for word in words}  # fmt: skip


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_checksums_and_our_version(name):
    locked, pinned = read(name), constraints()
    assert len(locked) > 100 and all(hashes for _, hashes in locked.values())
    other = {p: (v, pinned[p]) for p, (v, _) in locked.items() if p in pinned and v.partition("+")[0] != pinned[p]}
    assert other == {}
    assert asked_for() - set(locked) == set()


def test_what_is_installed_here_is_locked():
    """What the packages ask for in their turn, as far as it is here."""
    locked, seen, todo = read(LOCKS[0]), set(), asked_for()
    while todo:
        seen |= todo
        new = set()
        for name in todo:
            try:
                needs = importlib.metadata.requires(name) or ()
            except importlib.metadata.PackageNotFoundError:
                continue
            new |= {plain(need) for need in needs if ";" not in need}
        todo = new - seen
    assert seen - set(locked) == set()


def test_the_cpu_build_is_the_other_without_cuda():
    whole, cpu = (read(name) for name in LOCKS)
    assert cpu["torch"][0] == whole["torch"][0] + "+cpu"
    assert not any(name.startswith(("nvidia", "cuda", "triton")) for name in cpu)
    shared = set(cpu) - {"torch"}
    assert shared <= set(whole) and all(cpu[name] == whole[name] for name in shared)
