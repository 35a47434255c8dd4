"""Training of the networks through skorch."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping
from skorch.helper import predefined_split
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import TensorDataset
from tqdm.auto import tqdm

from ._random import SeededTorch, derive_seed, make_generator
from ._settings import own_settings, prepare_optimizers
from ._threads import limit_threads


class _StopTraining(Exception):
    """Training has come to its end before the last epoch."""


class _Stop(EarlyStopping):
    """Early stopping that does not pose as a user's interrupt, as skorch's does."""

    def __init__(self, after, threshold, load_best):
        super().__init__(patience=np.inf, threshold=threshold, load_best=load_best)
        self.after = after

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        if self.misses_ >= self.after:
            raise _StopTraining


class _Finite(Callback):
    """Raise as soon as a training loss is not finite."""

    def on_epoch_end(self, net, **kwargs):
        loss = net.history[-1, "train_loss"]
        if not np.isfinite(loss):
            raise ValueError(
                f"The training loss became {loss} in epoch {len(net.history)}. Lower "
                "learning_rate, or look for extreme values in X."
            )


class _Bar(tqdm):
    monitor_interval = 0  # no thread that wakes bars up, it would stay


@contextmanager
def progress_bar(verbose, total, label, unit):
    """Give a function that takes how much is done and shows it; None if not verbose."""
    if not verbose:
        yield None
        return
    with _Bar(total=total, desc=label, unit=unit, leave=False) as bar:
        yield lambda done: bar.update(done - bar.n)


class _Progress(Callback):
    """Tell after every epoch how many are done."""

    def __init__(self, show):
        self.show = show

    def on_epoch_end(self, net, **kwargs):
        self.show(len(net.history))


class _AverageWeights(Callback):
    """Exponential moving average of the weights, used for validation and kept.

    With validation trials, the average of the epoch with the lowest validation loss is
    what is kept at the end; the initial weights count as epoch 0.
    """

    def __init__(self, decay, valid_tensors=None):
        self.decay = decay
        self.valid_tensors = valid_tensors

    def on_train_begin(self, net, **kwargs):
        # AveragedModel walks through the module and copies its buffers at every step,
        # a tenth of an epoch here; the parameters are listed once instead
        self.module_ = deepcopy(net.module_)
        self.pairs_ = list(self.module_.parameters()), list(net.module_.parameters())
        self.update_ = get_ema_multi_avg_fn(self.decay)
        self.n_steps_ = 0
        self.best_loss_ = np.inf
        if self.valid_tensors is not None:
            self._keep(float(net.validation_step(self.valid_tensors)["loss"]))

    def _keep(self, loss):
        if loss < self.best_loss_:
            self.best_loss_ = loss
            self.best_state_ = deepcopy(self.module_.state_dict())

    def on_epoch_end(self, net, **kwargs):
        if self.valid_tensors is not None:
            self._keep(net.history[-1, "valid_loss"])

    def on_train_end(self, net, **kwargs):
        if self.valid_tensors is not None:
            self.module_.load_state_dict(self.best_state_)

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            if self.n_steps_ == 0:
                self.module_.load_state_dict(net.module_.state_dict())
            else:
                self.update_(*self.pairs_, self.n_steps_)
            self.n_steps_ += 1


class _Rows(TensorDataset):
    """Some rows of tensors, which are not copied."""

    def __init__(self, tensors, rows=None):
        super().__init__(*tensors)
        self.rows = torch.arange(len(tensors[0])) if rows is None else rows

    def __len__(self):
        return len(self.rows)


class _Batches:
    """Batches of tensors that lie in memory, shuffled anew in every epoch.

    The batches of an epoch are of nearly equal size, so that none is too small.
    """

    def __init__(self, dataset, batch_size, generator=None):
        self.tensors, self.rows = dataset.tensors, dataset.rows
        self.n_batches = max(1, round(len(self.rows) / batch_size))
        self.generator = generator

    def __iter__(self):
        rows = self.rows
        if self.generator is not None:
            rows = rows[torch.randperm(len(rows), generator=self.generator)]
        for index in rows.tensor_split(self.n_batches):
            yield tuple(tensor[index] for tensor in self.tensors)


class TrainingNet(NeuralNet):
    """A skorch net over tensors in memory, for modules that state their own loss.

    The module has a method ``loss(*tensors, generator)`` that returns the mean loss
    over the trials of a batch. Batches, noise and diffusion times come from generators
    of this net; the global ones are not read. A user's interrupt is raised, not
    swallowed.
    """

    def __init__(
        self, module, *, seed=0, average=None, valid_batch_size=None, **kwargs
    ):
        super().__init__(module, criterion=torch.nn.Identity, **kwargs)
        self.seed = seed
        self.average = average
        self.valid_batch_size = valid_batch_size

    def initialize(self):
        self.generator_ = make_generator(derive_seed(self.seed, "train"), self.device)
        self.shuffler_ = make_generator(derive_seed(self.seed, "shuffle"))
        with SeededTorch(derive_seed(self.seed, "weights")):
            return super().initialize()

    def get_iterator(self, dataset, training=False):
        if training:
            return _Batches(dataset, self.batch_size, self.shuffler_)
        return _Batches(dataset, self.valid_batch_size or self.batch_size)

    def train_step_single(self, batch, **fit_params):
        self._set_training(True)
        loss = self.module_.loss(*batch, generator=self.generator_)
        loss.backward()
        return {"loss": loss, "y_pred": None}

    def validation_step(self, batch, **fit_params):
        # the same noise in every epoch, so that epochs can be compared
        self._set_training(False)
        generator = make_generator(derive_seed(self.seed, "validate"), self.device)
        module = self.average.module_ if self.average else self.module_
        module.eval()
        with torch.no_grad():
            loss = module.loss(*batch, generator=generator)
        return {"loss": loss, "y_pred": None}

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        if not self.initialized_:
            self.initialize()
        self.notify("on_train_begin", X=X, y=y)
        try:
            self.fit_loop(X, y, **fit_params)
        except _StopTraining:
            pass
        self.notify("on_train_end", X=X, y=y)
        return self


@own_settings()
def train_module(
    module_class,
    module_params,
    tensors,
    valid_tensors=None,
    *,
    rows=None,
    seed,
    device,
    max_iter,
    batch_size,
    learning_rate,
    weight_decay=0.0,
    patience=None,
    ema_decay=None,
    clip=1.0,
    fused=False,
    n_threads=1,
    label="training",
    verbose=False,
):
    """Train a module and give it back on the CPU, in evaluation mode.

    Parameters
    ----------
    module_class : type
        Class of the module, with a method ``loss(*tensors, generator)``.
    module_params : dict
        Its constructor parameters.
    tensors, valid_tensors : tuple of Tensor
        Training and validation trials. Without validation trials there is no early
        stopping.
    rows : Tensor of int, shape (n_rows,), default=None
        Training trials among `tensors`; None for all.
    seed : int
        Seed of initial weights, batches and noise.
    device : torch.device
        Where to train.
    max_iter : int
        Most epochs.
    batch_size : int
        Trials per batch.
    learning_rate : float
        Step size of AdamW.
    weight_decay : float
        Weight decay of AdamW.
    patience : int or None
        Epochs without improvement on the validation trials before stopping.
    ema_decay : float or None
        Decay per step of the moving average of the weights that is kept.
    clip : float
        Largest norm of the gradient.
    fused : bool
        Whether AdamW updates all weights in one kernel: faster, rounded differently.
    n_threads : int
        Most threads to train on.
    label : str
        Name of the progress bar.
    verbose : bool or int
        Whether to show progress.

    Returns
    -------
    module : Module
        The trained module.
    history : list of dict
        Losses per epoch.
    """
    prepare_optimizers()
    tensors = tuple(tensor.to(device) for tensor in tensors)
    callbacks = [_Finite(), GradientNormClipping(clip)]
    average = None
    split = None
    if valid_tensors is not None:
        valid_tensors = tuple(tensor.to(device) for tensor in valid_tensors)
        split = predefined_split(_Rows(valid_tensors))
    if ema_decay is not None:
        average = _AverageWeights(ema_decay, valid_tensors)
        callbacks.append(average)
    if valid_tensors is not None:
        if patience is not None:
            callbacks.append(_Stop(patience, threshold=0.0, load_best=average is None))
    net = TrainingNet(
        module_class,
        **{f"module__{name}": value for name, value in module_params.items()},
        seed=seed,
        average=average,
        # an average is validated at once, so that epoch 0 sees the same noise
        valid_batch_size=len(valid_tensors[0]) if average and split else None,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=weight_decay,
        optimizer__fused=fused,
        lr=learning_rate,
        max_epochs=max_iter,
        batch_size=batch_size,
        train_split=split,
        callbacks=callbacks,
        callbacks__print_log=None,
        device=str(device),
        verbose=0,
    )
    bar = progress_bar(verbose, max_iter, label, "epoch")
    with limit_threads(n_threads), bar as show:
        if show is not None:
            net.set_params(callbacks=[*callbacks, _Progress(show)])
        net.fit(_Rows(tensors, rows), None)
    module = average.module_ if average else net.module_
    keys = ("train_loss", "valid_loss")
    history = [{k: row[k] for k in keys if k in row} for row in net.history]
    module = module.cpu().eval()
    module.zero_grad(set_to_none=True)
    return module, history
