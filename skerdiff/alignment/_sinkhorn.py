"""Alignment by the Sinkhorn divergence of whole trials."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

from ..utils._sklearn import Interval
from ._divergences import sinkhorn_divergence
from ._docs import share_docs
from ._gradient import GradientAligner
from ._objective import Objective


class SinkhornObjective(Objective):
    """Debiased entropic transport cost between batches of whole trials."""

    def __init__(self, regularisation):
        super().__init__()
        self.regularisation = regularisation

    def losses(self, source, target, progress, generator):
        """The divergence, per coordinate."""
        return {"divergence": sinkhorn_divergence(source, target, self.regularisation)}


@share_docs
class SinkhornAligner(GradientAligner):
    r"""Align sessions by the Sinkhorn divergence of their latents.

    The target read-in is moved until whole trials of both sessions lie on each other,
    as measured by the debiased entropic transport cost

    .. math:: \mathrm{OT}_\varepsilon(s, t) - \tfrac12 \mathrm{OT}_\varepsilon(s, s)
              - \tfrac12 \mathrm{OT}_\varepsilon(t, t) .

    Parameters
    ----------
    shared : model
        See `_docs`.
    regularisation : float, default=0.05
        The weight :math:`\varepsilon` of the entropy, as a share of the largest squared
        distance between the two batches.
    shared : start
        See `_docs`.
    shared : loop
        See `_docs`.
    shared : aligner
        See `_docs`.

    Attributes
    ----------
    shared : trained
        See `_docs`.
    shared : fitted
        See `_docs`.

    See Also
    --------
    GeometryAligner : Transport between trials, in closed form.
    MMDAligner : The divergence that this one tends to as the entropy grows.

    Notes
    -----
    ERDiff's first public code adds a Sinkhorn cost that is not debiased, whose minimum
    is a contracted set of trials.

    References
    ----------
    .. [1] Feydy, J. et al. "Interpolating between optimal transport and MMD using
       Sinkhorn divergences." AISTATS 2019. :arxiv:`1810.08278`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import SinkhornAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = SinkhornAligner(model, n_starts=4, max_steps=2, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    _parameter_constraints = GradientAligner._parameter_constraints | {
        "regularisation": [Interval(numbers.Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        latent_model=None,
        *,
        n_components=None,
        regularisation=0.05,
        init="geometry",
        n_starts=200,
        learning_rate=1e-4,
        batch_size=32,
        max_steps=100,
        check_every=10,
        patience=10,
        held_out=0.2,
        on_new_session="align",
        memory=None,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        super().__init__(
            latent_model,
            n_components=n_components,
            init=init,
            n_starts=n_starts,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_steps=max_steps,
            check_every=check_every,
            patience=patience,
            held_out=held_out,
            on_new_session=on_new_session,
            memory=memory,
            trial_length=trial_length,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.regularisation = regularisation

    def _make_objective(self, source):
        return SinkhornObjective(self.regularisation)
