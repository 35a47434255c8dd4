"""Tracking of speed."""

import time

import pytest

from benchmarks import speed


def test_a_slowdown_of_half_as_much_again_is_seen():
    stored = {"fit": 2.0, "adapt": 1.0, "gone": 1.0}
    assert speed.slower({"fit": 2.9, "adapt": 1.49, "new": 9.0}, stored) == []
    assert speed.slower({"fit": 3.1, "adapt": 1.0}, stored) == ["fit"]


def test_ratios_are_in_units_of_the_reference(monkeypatch):
    monkeypatch.setattr(speed, "reference", lambda: time.sleep(0.02))
    ratios = speed.measure({"twice": lambda: time.sleep(0.04)}, n_repeats=3)
    assert ratios == {"twice": pytest.approx(2, rel=0.3)}


def test_a_slowdown_makes_the_exit_status_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "reference", lambda: time.sleep(0.01))
    pause = [0.01]
    monkeypatch.setattr(
        speed, "workloads", lambda: {"work": lambda: time.sleep(pause[0])}
    )
    file = ["--baseline", str(tmp_path / "speed.json")]
    assert speed.main([*file, "--save"]) == 0
    assert speed.main(file) == 0
    pause[0] = 0.03
    assert speed.main(file) == 1
    assert "SLOWER" in capsys.readouterr().out


def test_all_that_is_timed_has_a_stored_ratio():
    import json

    stored = json.loads(speed.BASELINE.read_text())
    names = {"fit latent model", "fit prior", "adapt geometry", "adapt ERDiff"}
    assert stored.keys() >= names | {"transform", "sample", "score_samples"}
    assert all(ratio > 0 for ratio in stored.values())
