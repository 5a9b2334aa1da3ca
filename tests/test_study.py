import math

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tuner.history import Record, Score
from tuner.hyperparameters import SEED
from tuner.spaces import load_space
from tuner.study import RANDOM_AFTER, Study, _Log


@pytest.fixture(scope="module")
def space():
    return load_space("default")


def study_on(path, space, records=(), *, seed=0, slots=1):
    return Study(path, "run", space, "max", seed, list(records), slots)


def ended(number, configuration, *values, status="finished"):
    scores = [
        Score(level=3**k, step=3**k, total_steps=9, objective=v) for k, v in enumerate(values)
    ]
    return Record(f"t{number:03d}", number, configuration, False, status, scores)


def stored(path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(
        study_name="run", storage=JournalStorage(JournalFileBackend(str(path)))
    ).trials


def drawn(study, count, value=lambda c: -abs(math.log10(c["learning_rate"]) + 4.5)):
    """Draw and end that many trials, one after another; their records."""
    records = []
    for _ in range(count):
        name, configuration, _ = study.draw()
        records.append(ended(int(name[1:]), configuration, value(configuration)))
        study.tell(records[-1])
    return records


def test_start_points_come_first_and_only_once(tmp_path, space):
    study = study_on(tmp_path / "optuna.journal", space)
    starts = len(space.start)
    assert starts >= 1
    records = [study.draw() for _ in range(starts + 1)]
    assert [start for _, _, start in records] == [True] * starts + [False]
    for (_, configuration, _), expected in zip(records, space.start, strict=False):
        assert {name: configuration[name] for name in expected} == dict(expected)
    again = study_on(
        tmp_path / "optuna.journal",
        space,
        [ended(n, c, 0.5) for n, (_, c, _) in enumerate(records)],
    )
    assert not again.draw()[2]


def test_a_search_in_one_slot_draws_the_same_again(tmp_path, space):
    first = drawn(study_on(tmp_path / "a", space), 14)
    second = drawn(study_on(tmp_path / "b", space), 14)
    other = drawn(study_on(tmp_path / "c", space, seed=1), 14)
    assert [r.configuration for r in first] == [r.configuration for r in second]
    assert [r.configuration for r in first] != [r.configuration for r in other]


def test_every_configuration_is_complete_and_seeds_are_not_modelled(tmp_path, space):
    path = tmp_path / "optuna.journal"
    records = drawn(study_on(path, space), 4)
    needed = {"learning_rate", "num_train_epochs", "per_device_train_batch_size", SEED}
    assert all(needed <= set(record.configuration) for record in records)
    for trial, record in zip(stored(path), records, strict=True):
        assert SEED not in trial.params
        assert trial.user_attrs[SEED] == record.configuration[SEED]
        assert trial.user_attrs["trial"] == record.name


@pytest.mark.parametrize("fresh", [True, False], ids=["told", "rebuilt"])
def test_optuna_hears_how_each_trial_ended(tmp_path, space, fresh):
    path = tmp_path / "optuna.journal"
    study = study_on(path, space)
    configurations = [study.draw()[1] for _ in range(4)]
    finished = ended(0, configurations[0], 0.1, 0.2, 0.3)
    stopped = ended(1, configurations[1], 0.4, 0.5, status="stopped")
    failed = Record("t002", 2, configurations[2], False, "failed", [], "the loss became nan")
    undefined = ended(3, configurations[3], math.nan)
    records = [finished, stopped, failed, undefined]
    if fresh:
        for record in records:
            study.tell(record)
    else:
        study_on(path, space, records)
    trials = stored(path)
    assert [t.state.name for t in trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert trials[0].value == 0.3
    assert trials[0].intermediate_values == {1: 0.1, 3: 0.2, 9: 0.3}
    assert trials[1].intermediate_values == {1: 0.4, 3: 0.5}
    assert trials[2].user_attrs["error"] == "the loss became nan"


def test_a_trial_of_an_earlier_driver_is_told_too(tmp_path, space):
    path = tmp_path / "optuna.journal"
    configuration = study_on(path, space).draw()[1]
    begun = Record("t000", 0, configuration, True, "drawn")
    study = study_on(path, space, [begun])
    study.tell(ended(0, configuration, 0.7))
    (trial,) = stored(path)
    assert (trial.state.name, trial.value) == ("COMPLETE", 0.7)
    assert study.draw()[0] == "t001"


def test_past_some_thousands_configurations_are_drawn_at_random(tmp_path, space):
    configuration = space.complete({**space.start[0], SEED: 1})
    many = [ended(n, configuration, 0.5) for n in range(RANDOM_AFTER)]
    study = study_on(tmp_path / "optuna.journal", space, many)
    assert study.draw()[0] == f"t{RANDOM_AFTER}"
    assert isinstance(study.sampler, optuna.samplers.RandomSampler)


def test_optunas_file_waits_out_a_full_disk(tmp_path):
    path = tmp_path / "optuna.journal"
    path.symlink_to("/dev/full")
    log = _Log(path)
    log.append_logs([{"op_code": 0}, {"op_code": 1}])
    assert list(log.read_logs(0)) == [{"op_code": 0}, {"op_code": 1}]
    path.unlink()
    log.append_logs([{"op_code": 2}])
    assert list(log.read_logs(2)) == [{"op_code": 2}]
    assert [line["op_code"] for line in JournalFileBackend(str(path)).read_logs(0)] == [0, 1, 2]
