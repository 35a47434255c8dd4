"""The command line: quick help, and a demo that needs no extra but the plot's."""

import json
import subprocess
import sys

import pytest

from skerdiff import benchmark
from skerdiff.cli import main

HEAVY = {"torch", "sklearn", "scipy", "numpy", "pandas", "pydantic", "matplotlib"}
SHOW = """
import json, sys
from skerdiff.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""
# as if the extra had not been installed
WITHOUT = """
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in ("pandas", "pydantic"):
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Hiding, sys.meta_path)
from skerdiff.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--help"], "demo"),
        (["--version"], "."),
        (["benchmark", "--help"], "compare"),
        (["benchmark", "run", "--help"], "--stale"),
        (["benchmark", "list"], "smoke: Smoke test"),
    ],
)
def test_help_imports_nothing_heavy(arguments, text):
    found = run(SHOW, *arguments)
    assert found.returncode == 0 and text in found.stdout
    modules = set(json.loads(found.stdout.splitlines()[-1]))
    assert "skerdiff.cli" in modules and not modules & HEAVY


def test_without_the_extra_an_error_names_it():
    found = run(WITHOUT, "benchmark", "run", "smoke")
    assert found.returncode == 1
    assert "pip install 'skerdiff[benchmark]'" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_the_demo_needs_neither_pandas_nor_pydantic(tmp_path):
    picture = tmp_path / "demo.png"
    found = run(WITHOUT, "demo", "--output", str(picture))
    assert found.returncode == 0, found.stderr
    lines = {line[:14].strip(): line.split() for line in found.stdout.splitlines()}
    assert float(lines["ERDiff"][1]) > 0.9 > 0.3 > float(lines["no adaptation"][2])
    assert picture.stat().st_size > 10_000


def test_a_command_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["bench"])
    assert "invalid choice" in capsys.readouterr().err


def test_every_public_name_of_the_benchmark_is_there():
    assert set(benchmark.__all__) <= set(dir(benchmark))
    for name in benchmark.__all__:
        assert getattr(benchmark, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'ruin'"):
        benchmark.ruin  # noqa: B018
