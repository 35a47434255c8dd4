"""Changes that are made wholly or not at all, whatever happens meanwhile."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import os
import threading
from functools import wraps


class ProcessLock:
    """Holder of a lock of the threads of one process; a fork's child has it open.

    Attributes
    ----------
    lock : Lock
        To be used as ``with holder.lock``. (A method ``__enter__`` of this class could
        be interrupted behind its acquisition.)
    """

    def __init__(self):
        self._open()
        if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
            os.register_at_fork(after_in_child=self._open)

    def _open(self):
        self.lock = threading.Lock()  # a thread that is not here may hold the last one


def draft_of(estimator):
    """Shallow copy of an estimator, on which a method can work.

    Parameters
    ----------
    estimator : object
        The estimator, which stays as it is.

    Returns
    -------
    draft : object
        The copy. Attributes are shared until they are set anew.
    """
    draft = object.__new__(type(estimator))
    vars(draft).update(vars(estimator))
    return draft


def accept(estimator, draft):
    """Let an estimator become what a method has made of its draft.

    That is one assignment: an interrupt comes before or after it, and threads that use
    the estimator see what was there before or what is there now.

    Parameters
    ----------
    estimator, draft : object
        The estimator and its draft, see `draft_of`.
    """
    estimator.__dict__ = vars(draft)


def all_or_nothing(method):
    """Let a method that sets attributes set all of them, or none if it is left early.

    Parameters
    ----------
    method : callable
        A method that returns ``self``.

    Returns
    -------
    method : callable
        The same, which works on a draft. Whatever is raised, an interrupt included,
        the object is as it was before.
    """

    @wraps(method)
    def run(self, *args, **kwargs):
        draft = draft_of(self)
        method(draft, *args, **kwargs)
        accept(self, draft)
        return self

    return run
