"""Tables of cross-day decoding: ``python -m skerdiff.benchmark --help``."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import json

import numpy as np

from ._cross_day import BASELINES, METHODS, PAIRS, cross_day, load_pair, table


def main(argv=None):
    """Run the protocol and print one table per pair of sessions."""
    parser = argparse.ArgumentParser(prog="python -m skerdiff.benchmark")
    parser.add_argument("--data", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--behaviour", help="what to decode, see load_motor_cortex")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS | BASELINES, default=list(METHODS)
    )
    parser.add_argument(
        "--baselines", action="store_true", help="run all baselines too"
    )
    parser.add_argument("--output", help="file for one JSON line per result")
    args = parser.parse_args(argv)
    names = args.methods + (list(BASELINES) if args.baselines else [])
    methods = {name: (METHODS | BASELINES)[name] for name in names}
    for pair in args.data:
        rows = []
        for seed in range(args.seeds):
            data = load_pair(pair, seed, args.behaviour)
            found, _ = cross_day(data, seed, methods)
            rows += found
            print(f"{pair} seed {seed}: ", end="")
            print(", ".join(f"{r['method']} {r['r2']:.3f}" for r in found), flush=True)
            if args.output:
                with open(args.output, "a", encoding="utf-8") as file:
                    for row in found:
                        file.write(json.dumps({"pair": pair, "seed": seed} | row))
                        file.write("\n")
        print(f"\n{pair}, {args.seeds} seeds\n{table(rows)}")
        if len(methods) == 1:  # with several, all but the first reuse its models
            for name in ("fit_s", "adapt_s"):
                seconds = [row[name] for row in rows]
                print(f"{name[:-2]}: {np.mean(seconds):.1f} s, at most", end=" ")
                print(f"{np.max(seconds):.1f} s")
        print(flush=True)


if __name__ == "__main__":
    main()
