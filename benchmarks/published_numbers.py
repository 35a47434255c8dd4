"""Figures as published, for columns of their own.

ERDiff's Table 1 (cross-day, R2 in percent, mean and standard deviation of five runs)
and Table 2 (parameters added, their size, time of alignment per epoch): Wang, Wu, Li
and Wu, NeurIPS 2023. Measured by the authors on another cut of recordings of primary
motor cortex (37 bins of 20 ms) and under their protocol, see `published_protocol`.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

R2_PERCENT = {
    "no adaptation": "-34.12",
    "Cycle-GAN": "-24.83 ± 3.91",
    "JSDM": "-17.36 ± 2.57",
    "SASA": "-12.66 ± 2.40",
    "DANN": "-12.57 ± 3.28",
    "RDA-MMD": "-9.96 ± 2.63",
    "DAF": "-6.37 ± 3.72",
    "ERDiff w/o S": "-12.69 ± 2.64",
    "ERDiff w/o T": "-14.61 ± 2.33",
    "ERDiff": "18.81 ± 2.24",
}
COST = {
    "Cycle-GAN": ("26K", "117 KB", "103 ms"),
    "JSDM": ("0K", "0 KB", "77 ms"),
    "SASA": ("33K", "187 KB", "155 ms"),
    "RDA-MMD": ("65K", "314 KB", "264 ms"),
    "DAF": ("91K", "367 KB", "251 ms"),
    "ERDiff": ("28K", "139 KB", "183 ms"),
}
