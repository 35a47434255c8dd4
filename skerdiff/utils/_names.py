"""Names of sessions: one rule for all that take them."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

PREVIOUS = "previous"  # as a start, the session that was adapted last


def check_name(name, argument):
    """Check the name of a session.

    Parameters
    ----------
    name : str
        The name.
    argument : str
        What it was given as, for the error message.

    Returns
    -------
    name : str
        The name, as a plain str.

    Raises
    ------
    TypeError
        If it is no str.
    ValueError
        If it is empty, ends with a null character, which NumPy drops, or is "previous".
    """
    if not isinstance(name, str):
        raise TypeError(
            f"{argument} must be a name (str), got {name!r:.100}"
            f"{'' if len(repr(name)) <= 100 else '...'} of type {type(name).__name__}."
        )
    if not name or name.endswith("\0"):
        raise ValueError(f"{argument}={name!r} is no name of a session.")
    if name == PREVIOUS:
        raise ValueError(
            f"{argument}={PREVIOUS!r} cannot be the name of a session: as a start it "
            "stands for the session that was adapted last. Choose another name."
        )
    return str.__str__(name)  # str(name) of an enumeration is another text
