"""Change the code in small ways and see whether a test fails: `make mutation`.

Not part of CI. Of each target up to 300 mutants are drawn, always the same ones. Each
runs in a forked child of a process that has torch and scikit-learn imported, but not
skerdiff: the child imports skerdiff with one file changed and runs the tests that reach
the change, quick ones first, to the first failure. Results go to `mutation-results/`;
an interrupted run goes on where it stopped.

The changes are those of mutmut. Its own runner is not used: it leaves alone functions
that have a decorator, and a child that could not run the tests counts as a timeout.
"""

import argparse
import ast
import gc
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
import warnings
from collections import defaultdict
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "mutation-results"
SEED = 0
ENOUGH = 0.85  # of the mutants of a target
# files to change, and the tests that should notice
TARGETS = {
    "geometry": (["geometry/*.py"], ["geometry"]),
    "alignment": (
        [f"alignment/_{name}.py" for name in ("base", "gradient", "loop")],
        ["alignment", "test_sessions.py"],
    ),
    "trials": (["trials.py"], ["test_trials.py"]),
    "model_selection": (["model_selection/*.py"], ["model_selection"]),
    "sde": (["diffusion/_sde.py"], ["diffusion/test_sde.py"]),
    "samplers": (["diffusion/_samplers.py"], ["diffusion/test_samplers.py"]),
    "likelihood": (["diffusion/_likelihood.py"], ["diffusion/test_likelihood.py"]),
}
OPTIONS = ["-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
OPTIONS += ["-o", "addopts=--import-mode=importlib"]
FORK = multiprocessing.get_context("fork")


# -- mutants ---------------------------------------------------------------------------
def candidates(path):
    """Return the parsed file and its changes: lines to reach, line, old, new."""
    import libcst as cst
    from libcst.metadata import MetadataWrapper, PositionProvider
    from mutmut.mutation.mutators import mutation_operators, operator_string

    found = []
    not_changed = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)

    class Visitor(cst.CSTVisitor):
        METADATA_DEPENDENCIES = (PositionProvider,)

        def __init__(self):
            super().__init__()
            self.reach, self.line, self.messages = [range(1)], 1, 0

        def on_visit(self, node):
            place = self.get_metadata(PositionProvider, node, None)
            if place is not None:
                self.line = place.start.line
            if isinstance(node, not_changed) or _is(node, "len", "isinstance"):
                return False
            if isinstance(node, cst.Assign) and _is(node.targets[0].target, "__all__"):
                return False
            if isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
                self.reach.append(self._lines(node, place))
            self.messages += _is_message(node)
            for kind, operator in mutation_operators:
                # the wording of errors and warnings is left alone
                wording = operator is operator_string and self.messages
                if isinstance(node, kind) and not wording:
                    for new in operator(node):
                        found.append((self.reach[-1], self.line, node, new))
            return True

        def on_leave(self, node):
            self.messages -= _is_message(node)
            if isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
                self.reach.pop()

        def _lines(self, node, place):
            """Lines of which one runs when the statement, without its body, does."""
            body = getattr(node, "body", None)
            if isinstance(node, cst.SimpleStatementLine) or body is None:
                return range(place.start.line, place.end.line + 1)
            first = self.get_metadata(PositionProvider, body).start.line
            return range(place.start.line, max(first, place.start.line + 1))

    def _is(node, *names):
        name = getattr(node, "func", node)
        return isinstance(name, cst.Name) and name.value in names

    def _is_message(node):
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
            return node.func.attr.value == "warn"
        return isinstance(node, cst.Raise)

    wrapper = MetadataWrapper(cst.parse_module(path.read_text(encoding="utf-8")))
    wrapper.visit(Visitor())
    return wrapper.module, found


def draw(files, n):
    """Draw up to n mutants of some files."""
    parsed = {path: candidates(path) for path in files}
    every = [(path, i) for path in files for i in range(len(parsed[path][1]))]
    random.Random(SEED).shuffle(every)
    originals = [module.code for module, _ in parsed.values()]
    drawn, seen = [], {ast.dump(ast.parse(code)) for code in originals}
    for path, i in every:
        if len(drawn) == n:
            break
        module, found = parsed[path]
        reach, line, old, new = found[i]
        source = module.deep_replace(old, new).code
        try:
            tree = ast.dump(ast.parse(source))
            compile(source, path, "exec")
        except SyntaxError:
            continue
        if tree in seen:  # the same program
            continue
        seen.add(tree)
        drawn.append(
            {
                "file": path.relative_to(ROOT).as_posix(),
                "line": line,
                "old": " ".join(module.code_for_node(old).split()),
                "new": " ".join(module.code_for_node(new).split()),
                "source": source,
                "key": hashlib.sha256(source.encode()).hexdigest()[:16],
                "reach": reach,
            }
        )
    return drawn


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Import one module from a source of ours."""

    def __init__(self, file, source):
        self.name = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.path, self.source = str(ROOT / file), source

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def get_source(self, name):
        return self.source

    def is_package(self, name):
        return self.path.endswith("__init__.py")

    def get_code(self, name):
        return compile(self.source, self.path, "exec")


# -- children --------------------------------------------------------------------------
def child(log, func, *args):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()  # a group of its own, to be ended with the workers it starts
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    # compiled once for all children
    sys.pycache_prefix, sys.dont_write_bytecode = str(RESULTS / "pycache"), False
    code = 1
    try:
        code = int(func(*args))
    finally:
        sys.stdout.flush()
        os._exit(code)


def start(log, func, *args):
    process = FORK.Process(target=child, args=(log, func, *args))
    process.start()
    return process


def finish(process):
    try:
        process.join()
    finally:
        end(process)
    return process.exitcode


def end(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


class Only:
    """Run the tests chosen, and those that the baseline did not know, in our order."""

    def __init__(self, chosen, known):
        self.rank = {test: i for i, test in enumerate(chosen)}
        self.left_out = set(known) - set(chosen)

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if item.nodeid not in self.left_out]
        items.sort(key=lambda item: self.rank.get(item.nodeid, -1))


def run_mutant(file, source, chosen, known):
    import pytest

    sys.meta_path.insert(0, Mutated(file, source))
    paths = list(dict.fromkeys(test.split("::")[0] for test in chosen))
    return pytest.main(["-x", *OPTIONS, *paths], plugins=[Only(chosen, known)])


def run_baseline(files, tests, store):
    """Run the tests on the code as it is; note times, lines reached and imports."""
    import coverage
    import pytest

    cov = coverage.Coverage(
        data_file=None, config_file=False, include=[str(f) for f in files]
    )
    cov.set_option("run:core", "ctrace")
    seconds, fixtures = defaultdict(float), {}

    class Notes:
        context = ""

        def switch(self, context):
            self.context = context
            cov.switch_context(context)

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_setup(self, item):
            fixtures[item.nodeid] = ["@" + name for name in item.fixturenames]
            self.switch(item.nodeid)

        # What a shared fixture reaches counts for all tests that ask for it.
        @pytest.hookimpl(wrapper=True)
        def pytest_fixture_setup(self, fixturedef):
            before = self.context
            if fixturedef.scope != "function":
                self.switch("@" + fixturedef.argname)
            try:
                return (yield)
            finally:
                self.switch(before)

        def pytest_runtest_logreport(self, report):
            seconds[report.nodeid] += report.duration

    cov.start()
    for file in files:
        name = file.relative_to(ROOT).as_posix().removesuffix(".py").replace("/", ".")
        importlib.import_module(name.removesuffix(".__init__"))
    code = pytest.main([*OPTIONS, *tests], plugins=[Notes()])
    cov.stop()
    lines = {
        Path(file).relative_to(ROOT).as_posix(): cov.get_data().contexts_by_lineno(file)
        for file in cov.get_data().measured_files()
    }
    own = {"skerdiff", "tests", "conftest", "coverage", "xdist", "__main__"}
    modules = [name for name in sys.modules if name.split(".")[0] not in own]
    tests = {test: (seconds[test], fixtures[test]) for test in fixtures}
    store.write_bytes(pickle.dumps((tests, lines, modules)))
    return code


def choose(mutant, tests, lines, longest):
    """Return the tests that reach a mutant, quick files and quick tests first.

    Long ones are left out where others reach it: the score can only be lower for it.
    """
    contexts = {
        context
        for line in mutant["reach"]
        for context in lines.get(mutant["file"], {}).get(line, [])
    }
    chosen = {
        test: seconds
        for test, (seconds, fixtures) in tests.items()
        if contexts & {"", test, *fixtures}  # "": when the module is imported
    }
    quick = {test: t for test, t in chosen.items() if t <= longest}
    chosen = quick or chosen
    total = defaultdict(float)
    for test, seconds in chosen.items():
        total[test.split("::")[0]] += seconds

    def order(test):
        file = test.split("::")[0]
        return total[file], file, chosen[test]

    return sorted(chosen, key=order)


# -- a target --------------------------------------------------------------------------
def digest(tests):
    """Digest of all that a verdict depends on, but for installed packages."""
    files = [Path(__file__), *sorted((ROOT / "skerdiff").rglob("*.py"))]
    files += sorted((ROOT / "tests").rglob("conftest.py"))
    for test in tests:
        files += sorted(test.rglob("*.py")) if test.is_dir() else [test]
    total = hashlib.sha256()
    for file in files:
        total.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return total.hexdigest()[:16]


def baseline(name, files, tests, stamp):
    store, log = RESULTS / f"{name}-{stamp}.pkl", RESULTS / f"{name}.log"
    if not store.exists():
        for old in RESULTS.glob(f"{name}-*.pkl"):
            old.unlink()
        paths = [str(test) for test in tests]
        if finish(start(log, run_baseline, files, paths, store)):
            store.unlink(missing_ok=True)
            sys.exit(f"{name}: the tests fail on the code as it is:\n{log.read_text()}")
    all_tests, lines, modules = pickle.loads(store.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            with suppress(Exception):
                importlib.import_module(module)
    gc.freeze()  # or the children's collector copies all of its memory
    return all_tests, lines


def run_target(name, n, jobs, longest, fresh):
    changed, tests = TARGETS[name]
    files = sorted(f for glob in changed for f in (ROOT / "skerdiff").glob(glob))
    tests = [ROOT / "tests" / test for test in tests]
    if not files or not all(test.exists() for test in tests):
        sys.exit(f"{name}: no such files, or no tests of them: see TARGETS")
    stamp = digest(tests)
    all_tests, lines = baseline(name, files, tests, stamp)
    stamp += f" {longest:g}"
    drawn = draw(files, n)
    results = RESULTS / f"{name}.jsonl"
    if fresh:
        results.unlink(missing_ok=True)
    # A mutant that was killed stays so; one that survived gets another chance when
    # the code, a test or what is left out is another.
    known = {}
    if results.exists():
        for row in map(json.loads, results.read_text(encoding="utf-8").splitlines()):
            if row["verdict"] != "survived" or row["stamp"] == stamp:
                known[row["key"]] = row
            else:
                known.pop(row["key"], None)
    todo = [mutant for mutant in drawn if mutant["key"] not in known]
    if todo:
        log = RESULTS / f"{name}.log"
        file = files[0].relative_to(ROOT).as_posix()
        every = {"file": file, "reach": [0]}, all_tests, {file: {0: [""]}}
        order = choose(*every, longest)
        same = files[0].read_text(encoding="utf-8")
        if finish(start(log, run_mutant, file, same, order, all_tests)):
            sys.exit(f"{name}: tests depend on their order:\n{log.read_text()}")
    print(f"{name}: {len(drawn)} mutants, {len(todo)} to run", flush=True)
    began = time.perf_counter()
    with results.open("a", encoding="utf-8") as file:
        for i, row in enumerate(
            verdicts(todo, all_tests, lines, jobs, longest, name), 1
        ):
            known[row["key"]] = row | {"stamp": stamp}
            file.write(json.dumps(known[row["key"]]) + "\n")
            file.flush()
            if i % 20 == 0 or i == len(todo):
                spent = (time.perf_counter() - began) / i
                print(f"  {i}/{len(todo)}, {spent:.2f} s per mutant", flush=True)
    return report(name, [known[mutant["key"]] for mutant in drawn])


def verdicts(todo, tests, lines, jobs, longest, name):
    """Yield a verdict on each mutant, as they come in."""
    todo, running = list(todo), {}
    try:
        while todo or running:
            while todo and len(running) < jobs:
                mutant = todo.pop(0)
                chosen = choose(mutant, tests, lines, longest)
                row = {k: mutant[k] for k in ("key", "file", "line", "old", "new")}
                if not chosen:
                    yield row | {"verdict": "survived", "why": "no test reaches it"}
                    continue
                log = RESULTS / f"{name}-{mutant['key']}.log"
                process = start(
                    log, run_mutant, mutant["file"], mutant["source"], chosen, tests
                )
                now = time.perf_counter()
                limit = now + 30 + 5 * sum(tests[test][0] for test in chosen)
                running[process.sentinel] = process, row, log, now, limit
            now = time.perf_counter()
            until = min((item[-1] for item in running.values()), default=now)
            done = wait(list(running), timeout=max(0, until - now))
            now = time.perf_counter()
            for sentinel, (process, row, log, began, limit) in list(running.items()):
                if sentinel in done:
                    process.join()
                    # 5: no test is left
                    verdict = "survived" if process.exitcode in (0, 5) else "killed"
                elif now > limit:
                    verdict = "killed: too slow"
                else:
                    continue
                del running[sentinel]
                end(process)
                last = log.read_text(errors="replace").splitlines()
                why = [text for text in last if text.startswith(("FAILED", "ERROR"))]
                log.unlink()
                yield row | {
                    "verdict": verdict,
                    "why": why[0][:200] if why else "",
                    "seconds": round(now - began, 2),
                }
    finally:
        for process, _, log, *_ in running.values():
            end(process)
            log.unlink(missing_ok=True)


def around_the_change(*texts, width=40):
    """Cut what long texts have in common, but for the part next to the change."""
    same = len(os.path.commonprefix(texts))
    if max(map(len, texts)) <= 2 * width:
        return texts
    first = max(0, same - width // 2)
    return ["…" * (first > 0) + t[first : same + width] + "…" for t in texts]


def report(name, rows):
    killed = sum(row["verdict"] != "survived" for row in rows)
    score = killed / len(rows)
    took = [row["seconds"] for row in rows if "seconds" in row]
    print(
        f"{name}: {killed} of {len(rows)} mutants killed, {100 * score:.1f} %"
        f" ({sum(took) / max(1, len(took)):.2f} s per mutant)"
    )
    for row in sorted(rows, key=lambda row: (row["file"], row["line"])):
        if row["verdict"] == "survived":
            note = f"   ({row['why']})" if row["why"] else ""
            print(
                f"  {row['file']}:{row['line']}: {row['old']}  ->  {row['new']}{note}"
            )
    sys.stdout.flush()
    return score


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; or all")
    parser.add_argument("-n", type=int, default=300, help="mutants per target")
    parser.add_argument("-j", type=int, default=1, help="how many run at a time")
    parser.add_argument(
        "--longest",
        type=float,
        default=5.0,
        help="leave out tests of more seconds where others reach the change",
    )
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    args = parser.parse_args(argv)
    if unknown := set(args.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end the children
    RESULTS.mkdir(exist_ok=True)
    scores = {
        name: run_target(name, args.n, args.j, args.longest, args.fresh)
        for name in args.targets or TARGETS
    }
    low = [name for name, score in scores.items() if score < ENOUGH]
    if low:
        print(f"Below {100 * ENOUGH:.0f} %: {', '.join(low)}")
    return bool(low)


if __name__ == "__main__":
    sys.exit(main())
