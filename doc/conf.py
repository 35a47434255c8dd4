"""Configuration of the documentation. Built by `make doc` and `make examples`."""

import inspect
import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for benchmarks, not installed
from benchmarks import label_free
from benchmarks.catalogue import CATALOGUE
from skerdiff.benchmark import write_report

project = "skerdiff"
author = "The skerdiff developers"
copyright = "2026, The skerdiff developers"
release = version = installed_version("skerdiff")

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
extlinks = {
    "doi": ("https://doi.org/%s", "doi:%s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}
# No intersphinx: the build needs no network.
exclude_patterns = ["_build", "_templates", "benchmark_tables"]
templates_path = ["_templates"]
default_role = "literal"  # `name` in a docstring, as in scikit-learn

autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = "none"  # types stand in the docstrings
numpydoc_show_class_members = False  # the class template lists them
# every docstring of the API page is validated here: `make doc` fails on a fault
pyproject = tomllib.loads(
    Path(__file__).parents[1].joinpath("pyproject.toml").read_text()
)
validation = pyproject["tool"]["numpydoc_validation"]
numpydoc_validation_checks = set(validation["checks"])
numpydoc_validation_overrides = {"SS05": validation["override_SS05"]}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_\w+\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "parallel": 2,  # examples at a time, each in a process of its own
    "reference_url": {},
}

# pictures in the text are drawn in every build, by the code of the examples
plot_html_show_formats = False
plot_html_show_source_link = False
plot_formats = ["png"]

html_theme = "pydata_sphinx_theme"
html_title = "skerdiff"
html_show_sourcelink = False
html_sidebars = {"**": []}  # the pages are few: the navigation at the top holds them
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}


def skip_members_of_scikit_learn(app, what, name, obj, skip, options):
    """Leave out what a class only inherits: its text links to other pages."""
    if name.startswith("set_") and name.endswith("_request"):
        return True
    obj = inspect.unwrap(getattr(obj, "fget", None) or obj)
    module = getattr(obj, "__module__", None) or ""
    return True if module.split(".")[0] == "sklearn" else None


def write_benchmark_tables(app):
    """Draw the tables and figures of results, which pages include."""
    here = Path(__file__).parent
    results = here.parent / "benchmarks" / "results"
    tables = here / "benchmark_tables"
    write_report(sorted(results.glob("*.jsonl")), tables, catalogue=CATALOGUE)
    runs = label_free.read_runs(results / "label_free_runs.csv")
    table = label_free.table(runs).rst()
    (tables / "label-free.rst").write_text(table, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write_benchmark_tables)
    app.connect("autodoc-skip-member", skip_members_of_scikit_learn)
