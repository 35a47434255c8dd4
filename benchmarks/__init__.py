"""The evidence of the project: what every figure in its documentation is made with.

It is not installed, uses the public interface of `skerdiff` alone, and is run from a
checkout: ``python -m benchmarks list``.
"""
