"""What each kind of experiment shows in its tables."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ._criteria import CRITERIA
from ._methods import SOURCE_START
from ._over_settings import (
    constants_table,
    parts_table,
    share_table,
    thresholds_table,
    warnings_table,
)
from ._published_numbers import COST, R2_PERCENT
from ._published_protocol import VARIANTS
from ._statistics import mean_ranks
from ._tables import (
    Table,
    by_seed,
    difference,
    group,
    n_seeds,
    parts_of,
    reference_of,
    seeds_note,
    slug,
    summary,
)


def tables_of(experiment, lines):
    """Tables of one experiment.

    Parameters
    ----------
    experiment : str
        Its name.
    lines : list of dict
        Its results, all of one kind.

    Returns
    -------
    tables : list of Table
        At least one.
    """
    found = []
    kind, settings = lines[0]["kind"], group(lines, "setting")
    if kind == "decoding" and len(settings) == 1 and len(group(lines, "data")) > 1:
        found.append(_by_data(slug(experiment), experiment, lines))
    over = ()
    if kind == "constants":
        over = constants_table, thresholds_table
    elif kind == "decoding" and len(settings) > 1:
        over = share_table, parts_table, warnings_table
    if kind in KINDS:
        for name, title, mine in parts_of(experiment, lines):
            found += KINDS[kind](name, title, mine)
    tables = [make(slug(experiment), experiment, lines) for make in over]
    return found + [table for table in tables if table.rows]


def _decoding(name, title, lines):
    settings = group(lines, "setting")
    if len(settings) > 1:
        return _matrix(name, title, lines, settings)
    methods = group(lines, "method")
    r2 = {method: by_seed(mine, "r2") for method, mine in methods.items()}
    n, reference = n_seeds(lines), reference_of(lines)
    ranks = mean_ranks({method: v for method, v in r2.items() if len(v) == n})
    published = lines[0]["data"] == "mihi" and len(R2_PERCENT.keys() & r2.keys()) > 2
    header = [
        "method",
        "R2",
        "RMSE",
        f"R2 less {reference}",
        "rank",
        "ambiguous",
        "adds",
    ]
    rows = []
    for method, mine in methods.items():
        rmse = by_seed(mine, "rmse").values()
        row = [
            method,
            summary(r2[method].values(), wanted=n),
            f"{np.mean(list(rmse)):.3f}",
            "" if method == reference else difference(r2[method], r2[reference]),
            f"{ranks[method]:.1f}" if method in ranks else "",
            f"{sum(by_seed(mine, 'ambiguous').values())}/{len(mine)}",
            f"{mine[0]['result']['n_parameters_added']:,}",
        ]
        rows.append([*row, _published_r2(method, r2)] if published else row)
    notes = [
        seeds_note(lines),
        "R2 and RMSE are of decoded behaviour on held-out target trials; rank is the "
        "mean rank by R2 within a seed, 1 the best; ambiguous says in how many runs "
        "the aligner warned; adds counts the parameters that a method brings besides "
        "the source model.",
    ]
    if published:
        header.append("published R2, %")
        notes.append(
            "The last column is ERDiff's Table 1, cross-day, as published: another cut "
            "of the recordings, another protocol. It is not to be compared in value."
        )
    return [Table(name, title, header, rows, notes)]


def _published_r2(method, measured):
    """Published figure of a method; the published start is that from the source."""
    if method + SOURCE_START in measured:
        return ""
    return R2_PERCENT.get(method.removesuffix(SOURCE_START), "")


def _by_data(name, title, lines):
    data, found = group(lines, "data"), group(lines, "method", "data")
    n = n_seeds(lines)
    rows = [
        [method]
        + [
            summary(by_seed(found.get((method, d), []), "r2").values(), wanted=n)
            for d in data
        ]
        for method in group(lines, "method")
    ]
    notes = [seeds_note(lines), "R2 of decoded behaviour on held-out target trials."]
    return Table(name, f"{title}: all data", ["method", *data], rows, notes)


def _matrix(name, title, lines, settings):
    methods = group(lines, "method", "setting")
    names = list(dict.fromkeys(method for method, _ in methods))
    found, n = [], n_seeds(lines)
    for what, suffix, note in (
        ("r2", "", "R2 of held-out target trials in directions that were adapted to."),
        ("r2_absent", ", absent directions", "R2 in directions that were missing."),
    ):
        used = [s for s, mine in settings.items() if by_seed(mine, what)]
        if not used:
            continue
        rows = [
            [setting]
            + [
                summary(by_seed(methods.get((m, setting), []), what).values(), wanted=n)
                for m in names
            ]
            for setting in used
        ]
        of = name if what == "r2" else f"{name}-absent"
        notes = [seeds_note(lines), note]
        found.append(Table(of, title + suffix, ["setting", *names], rows, notes))
    return found


def _cost(name, title, lines):
    header = ["method", "parameters", "KB", "ms an epoch", "s to adapt (most)"]
    header += ["step kept", "R2", "published: parameters, size, ms an epoch"]
    rows = []
    for method, mine in group(lines, "method").items():
        if method == "oracle":
            continue
        size = mine[0]["result"]["n_parameters_added"]
        epoch, adapt, steps, r2 = (
            list(by_seed(mine, what).values())
            for what in ("epoch_s", "adapt_s", "steps", "r2")
        )
        published = COST.get(method.removesuffix(SOURCE_START), ())
        rows.append(
            [
                method,
                f"{size / 1000:.1f}K",
                f"{4 * size / 1000:.0f}",
                f"{1000 * np.mean(epoch):.0f}" if any(epoch) else "",
                f"{np.mean(adapt):.1f} ({max(adapt):.1f})",
                f"{np.mean(steps):.0f}" if any(epoch) else "",
                summary(r2, wanted=n_seeds(lines)),
                ", ".join(published),
            ]
        )
    notes = [
        seeds_note(lines),
        "Parameters that a method adds to the latent model, at four bytes each; an "
        "epoch is one pass through the target trials; adapting includes the search "
        "for the start. One thread, nothing else running by this command. The "
        "published figures were measured on other data and another machine.",
    ]
    return [Table(name, title, header, rows, notes)]


def _dynamics(name, title, lines):
    header = ["method", "NLL, nats a trial", "KL, nats a bin"]
    header += ["fixed points off by", "R2 of latents"]
    measures = ("nll", "kl", "fixed_points")
    rows = []
    for method, mine in group(lines, "method").items():
        row = [summary(by_seed(mine, w).values(), worst=max) for w in measures]
        r2 = summary(by_seed(mine, "r2").values(), wanted=n_seeds(lines))
        rows.append([method, *row, r2])
    true = [by_seed(lines, f"true_{what}").values() for what in measures]
    rows.append(["true latents", *(f"{np.mean(list(v)):.2f}" for v in true), "1"])
    notes = [
        seeds_note(lines),
        "NLL: negative log-likelihood of decoded target trajectories under the true "
        "dynamics, the nearer to that of the true latents the better, as trajectories "
        "that are too smooth go below it. KL: divergence of dynamics fitted to them "
        "from the true ones. Fixed points: mean distance from the true stable ones to "
        "those of the fitted dynamics, in a square with sides of 1. In brackets the "
        "worst seed.",
    ]
    return [Table(name, title, header, rows, notes)]


def _published(name, title, lines):
    methods = group(lines, "method")
    r2 = {method: by_seed(mine, "r2") for method, mine in methods.items()}
    said = {
        name: ", ".join(
            (
                "paired by direction" if paired else "shuffled",
                "best epoch by labels" if best_epoch else "last epoch",
                "adapted trials" if on_adapted else "held-out trials",
            )
        )
        for name, (paired, best_epoch, on_adapted) in VARIANTS.items()
    }
    honest = r2.get("honest", {})
    rows = [
        [method, said[method], summary(r2[method].values(), wanted=n_seeds(lines))]
        + ["" if method == "honest" else difference(r2[method], honest)]
        for method in methods
    ]
    header = ["protocol", "what it does", "R2", "R2 less honest"]
    notes = [
        seeds_note(lines),
        "ERDiff from the source's read-in, 500 epochs, with this package's latent "
        "model and prior. Only the last row keeps to the honest protocol.",
    ]
    return [Table(name, title, header, rows, notes)]


def _equal_time(name, title, lines):
    header = ["seed", "R2", "s", "published shape: R2 in that time", "best R2"]
    header += ["s", "as good", "time ratio"]
    rows = []
    for line in lines:
        r = line["result"]
        rows.append(
            [
                str(line["seed"]),
                f"{r['r2']:.3f}",
                f"{r['adapt_s']:.1f}",
                f"{r['published_r2_at_equal_time']:.3f}",
                f"{r['published_best_r2']:.3f}",
                f"{r['published_s']:.0f}",
                "yes" if r["reached"] else "no",
                f"{'' if r['reached'] else '> '}{r['ratio']:.0f}",
            ]
        )
    epochs = {line["result"]["published_prior_epochs"] for line in lines}
    notes = [
        "The published denoiser was trained for "
        f"{', '.join(map(str, sorted(epochs)))} epochs; the public code has 800.",
        "ERDiffAligner against the published denoiser, objective, step size, batches "
        "and start, sessions shuffled, on the same trials in one run on one thread. "
        "The published shape is stopped when its R2 on held-out trials is within "
        "0.01, or after 25 times as long.",
    ]
    return [Table(name, title, header, rows, notes)]


def _prior(name, title, lines):
    header = ["model", "log-likelihood", "denoising", "values", "correlations", "AUC"]
    rows = []
    for method, mine in group(lines, "method").items():
        row = [method, summary(by_seed(mine, "log_likelihood").values())]
        for what, digits in (
            ("denoising_error", 4),
            ("value", 3),
            ("correlation", 3),
            ("auc", 2),
            ("neighbour", 2),
        ):
            found = list(by_seed(mine, what).values())
            row.append(f"{np.mean(found):.{digits}f}" if found else "")
        rows.append(row)
    notes = [
        seeds_note(lines),
        "Held-out trajectories of source latents: log-likelihood in nats per value; "
        "mean denoising error; between samples and held-out trials the distances of "
        "values and of correlations, a classifier's AUC and the nearest-neighbour "
        "ratio.",
    ]
    return [Table(name, title, [*header, "nearest"], rows, notes)]


def _criteria(name, title, lines):
    chosen = [*CRITERIA, "r2"]
    rows = []
    for setting, mine in group(lines, "setting").items():
        values = [by_seed(mine, what).values() for what in chosen]
        rows.append([setting, *(summary(v, wanted=n_seeds(lines)) for v in values)])
    notes = [
        seeds_note(lines),
        "R2 of held-out target trials by the alignment that each criterion chose from "
        "the same pool; the last column is the best of the pool by target labels. "
        "Denoising error, bound and likelihood are under a diffusion prior of the "
        "source's principal coordinates; the latter two count the change of volume.",
    ]
    return [Table(name, title, ["setting", *CRITERIA, "best"], rows, notes)]


def _headroom(name, title, lines):
    rows = []
    for method, mine in group(lines, "method").items():
        own, refitted = (by_seed(mine, what) for what in ("r2", "r2_refitted"))
        texts = [summary(v.values(), 3, wanted=n_seeds(lines)) for v in (own, refitted)]
        rows.append([method, *texts, difference(refitted, own)])
    header = ["method", "R2, source's decoder", "R2, refitted decoder", "difference"]
    notes = [
        seeds_note(lines),
        "R2 of held-out target trials from aligned latents: by the decoder of the "
        "source, and by one trained with labels on the aligned latents of the trials "
        "that were adapted to. The difference is what moving the latents could gain.",
    ]
    return [Table(name, title, header, rows, notes)]


KINDS = {
    "prior": _prior,
    "headroom": _headroom,
    "criteria": _criteria,
    "decoding": _decoding,
    "latents": _decoding,
    "cost": _cost,
    "dynamics": _dynamics,
    "published protocol": _published,
    "equal time": _equal_time,
}
