"""Closed-form denoiser of a Gaussian, on which the network builds."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn


class GaussianDenoiser(nn.Module):
    """Optimal noise predictor if trajectories were Gaussian.

    For ``z_0 ~ N(mu, S)`` the expected noise given z_t is
    ``sigma (alpha^2 S + sigma^2 I)^{-1} (z_t - alpha mu)``. S is kept as blocks within
    which coordinates covary: all of a trial, or the dims of a bin, or the bins of a
    dim, as the denoiser's attention allows.

    Parameters
    ----------
    mean : Tensor of shape (n_bins, d)
        Mean trajectory.
    vectors : Tensor of shape (n_blocks, m, m)
        Eigenvectors of the covariance of each block, in columns.
    values : Tensor of shape (n_blocks, m)
        Their eigenvalues.
    by_bin : bool
        Whether a block holds coordinates in the order bins, dims; otherwise dims, bins.
    """

    def __init__(self, mean: Tensor, vectors: Tensor, values: Tensor, by_bin: bool):
        super().__init__()
        self.by_bin = by_bin
        self.register_buffer("mean", mean)
        self.register_buffer("vectors", vectors)
        self.register_buffer("values", values)

    @classmethod
    def fit(cls, Z: np.ndarray, spatial: bool = True, temporal: bool = True):
        """Estimate mean and covariance (Ledoit and Wolf's shrinkage) from trajectories.

        Parameters
        ----------
        Z : ndarray of shape (n_trials, n_bins, d)
            Trajectories.
        spatial, temporal : bool
            Whether latent dims, and bins, may covary.
        """
        n_trials, n_bins, d = Z.shape
        by_bin = spatial
        ordered = Z if by_bin else Z.transpose(0, 2, 1)
        if spatial and temporal:
            blocks = ordered.reshape(n_trials, 1, -1)
        elif spatial or temporal:
            blocks = ordered
        else:
            blocks = ordered.reshape(n_trials, -1, 1)
        values, vectors = [], []
        for block in blocks.transpose(1, 0, 2):
            covariance = ledoit_wolf(block)[0]
            w, V = np.linalg.eigh(covariance)
            values.append(np.maximum(w, 1e-6))
            vectors.append(V)
        return cls(
            *(
                torch.tensor(np.array(a), dtype=torch.float32)
                for a in (Z.mean(0), vectors, values)
            ),
            by_bin,
        )

    def forward(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Expected noise in z (n, n_bins, d) given alpha and sigma, each (n, 1, 1)."""
        centred = z - alpha * self.mean
        if not self.by_bin:
            centred = centred.transpose(1, 2)
        n_blocks, m = self.values.shape
        h = centred.reshape(len(z), n_blocks, m).transpose(0, 1) @ self.vectors
        variance = alpha**2 * self.values[:, None].transpose(0, 1) + sigma**2
        h = h * (sigma / variance).transpose(0, 1)
        h = (h @ self.vectors.mT).transpose(0, 1).reshape(centred.shape)
        return h if self.by_bin else h.transpose(1, 2)
