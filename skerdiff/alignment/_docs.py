"""Documentation that aligners share, written once."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import re
from textwrap import dedent, indent

_SHARED = {
    # parameters of the source model and of what is done with sessions
    "aligner": """
        on_new_session : {"align", "raise"}, default="align"
            What `transform` does with a session it has not met: align it among the
            trials given (nothing is stored) with a `NewSessionWarning`, or raise.
        memory : str or joblib.Memory, default=None
            Cache of source models and geometry searches. With it, a search over methods
            or folds trains each source model once, also by several workers, and an
            interrupted fit goes on after the last model that was finished. Results of
            other versions of the code (this package, what it computes with, and the
            classes of your own models) are not used. It needs an integer `random_state`
            to be of use.
        trial_length : int, default=None
            For 2-D X, the number of consecutive rows (bins) of a trial. By default each
            row is a trial of its own.
        device : str or torch.device, default="auto"
            Where to train. ``"auto"`` takes a GPU if there is one. Fitted models are
            kept on the CPU.
        random_state : int, RandomState instance or None, default=None
            Determines everything random. Two fits with one int agree to the bit, on as
            many threads; each session has a seed of its own by its name, so that
            without ``start`` the order of `adapt` calls does not matter.
        verbose : bool, default=False
            Whether to show progress bars.
        """,
    "model": """
        latent_model : SequentialVAE, default=None
            Latent-variable model of the source; None is ``SequentialVAE()``. It is
            cloned.
        n_components : int, default=None
            Number of latent dims; overrides that of `latent_model`.
        """,
    # where the read-in starts
    "start": """
        init : {"geometry", "source", "random"}, default="geometry"
            Where the target read-in starts: the geometry warm start (see
            `GeometryAligner`); the source's read-in column by column; or random
            weights.
        n_starts : int, default=200
            Random starts of the geometry search, each way.
        """,
    # parameters of the gradient loop
    "loop": """
        learning_rate : float, default=1e-4
            Step size of Adam, for features of unit variance. From ``init="source"``
            take 1e-3, or 3e-4 against an adversary, and more steps.
        batch_size : int, default=32
            Trials per step, of the target and of the source.
        max_steps : int, default=100
            Most gradient steps; 0 keeps the start. None are made from a geometry that
            is in doubt, as they cannot mend it.
        check_every : int, default=10
            Steps between two looks at the held-out trials.
        patience : int, default=10
            Looks without improvement before stopping.
        held_out : float, default=0.2
            Share of the target trials that chooses the step: the one with the lowest
            relative residual of these trials is kept, if that is below the start's by a
            paired t-test at the level of 0.05; else the start is. No label is read.
        """,
    "adversary": """
        adversary_learning_rate : float, default=1e-3
            Step size of Adam for the adversary.
        """,
    # attributes
    "fitted": """
        latent_model_ : SequentialVAE
            The fitted latent-variable model of the source.
        sessions_ : dict of str to Session
            The read-in of each session known, the source first, then in the order in
            which they were adapted.
        alignment_report_ : dict of str to dict
            For each session but the first source how its alignment went: number of its
            trials and neurons, bits per spike, with the geometry warm start what
            `GeometryAligner` reports, and what Notes may add.
        source_ : str
            Name of the source session, of several the first.
        sources_ : list of str
            Names of all source sessions.
        n_bins_ : int
            Bins per trial.
        n_components_ : int
            Number of latent dims.
        n_features_in_ : int
            Number of neurons of the source.
        feature_names_in_ : ndarray of shape (`n_features_in_`,)
            Names of the source's neurons, if X had any.
        """,
    "trained": """
        n_parameters_added_ : int
            Parameters of the networks that the method adds to the source model.
        loss_curve_ : dict of str to list of dict
            For each target session the named losses of every gradient step. What
            `alignment_report_` adds: ``criterion_curve``, step and relative residual of
            the held-out trials, and ``n_steps``, the step that was kept. Where no steps
            were made there are no losses, and the report has neither.
        steps_per_second_ : dict of str to float
            For each target session the gradient steps per second.
        """,
}
_PLACE = re.compile(r"^( *)shared : (\w+)\n(?: +.*\n)", re.MULTILINE)


def share_docs(cls):
    """Fill the places ``shared : name`` in a class docstring, two lines each."""

    def fill(match):
        return indent(dedent(_SHARED[match[2]]).strip("\n"), match[1]) + "\n"

    if cls.__doc__ is not None:  # None under python -OO
        cls.__doc__ = _PLACE.sub(fill, cls.__doc__)
    return cls
