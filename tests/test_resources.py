import pytest

from tuner.errors import UserError
from tuner.resources import Layout, Node, lay_out, retrain_layout, room

LAPTOP = (Node(2, 0),)
GPU_HOST = (Node(16, 4),)
CLUSTER = (Node(4, 0), Node(8, 2), Node(8, 2))


def test_without_gpus_there_is_one_slot_a_core():
    assert lay_out(LAPTOP) == Layout(slots=2, workers=1, cpus=1, gpus=0, threads=1)


def test_fewer_slots_share_all_cores():
    assert lay_out(LAPTOP, slots=1) == Layout(1, 1, 2, 0, 2)
    assert lay_out((Node(8, 0),), slots=3) == Layout(3, 1, 2, 0, 2)


def test_a_slot_of_two_workers_takes_two_cores():
    assert lay_out(LAPTOP, workers=2) == Layout(1, 2, 1, 0, 1)


def test_a_worker_is_never_larger_than_its_host():
    layout = lay_out((Node(2, 0), Node(2, 0), Node(2, 0)), slots=2)
    assert layout == Layout(2, 1, 2, 0, 2)
    assert lay_out((Node(3, 0), Node(3, 0)), slots=3).cpus == 1


def test_with_gpus_there_is_one_slot_a_gpu():
    assert lay_out(GPU_HOST) == Layout(4, 1, 1, 1, 4)
    assert lay_out(CLUSTER).slots == 4


def test_a_quarter_of_a_gpu_packs_four_slots_on_it():
    assert lay_out((Node(16, 1),), gpus_per_worker=0.25) == Layout(4, 1, 1, 0.25, 4)
    # Shares are counted host by host: a worker cannot use halves of two GPUs of two hosts.
    assert lay_out((Node(8, 1), Node(8, 1)), gpus_per_worker=0.6).slots == 2


def test_gpus_can_be_left_alone():
    assert lay_out((Node(4, 1),), gpus_per_worker=0).gpus == 0
    assert retrain_layout((Node(4, 1),), 0, batch=16).gpus == 0


@pytest.mark.parametrize(
    ("nodes", "asked", "told"),
    [
        (LAPTOP, {"slots": 3}, ("3", "2 cores")),
        (LAPTOP, {"slots": 2, "workers": 2}, ("4 times", "2 cores")),
        (LAPTOP, {"workers": 3}, ("3", "2 cores")),
        (GPU_HOST, {"slots": 5}, ("5", "4 GPUs")),
        (LAPTOP, {"gpus_per_worker": 0.5}, ("0.5", "there are none")),
        (GPU_HOST, {"gpus_per_worker": 2}, ("2", "from 0 to 1")),
        (GPU_HOST, {"gpus_per_worker": 0.5, "workers": 2}, ("0.5", "cannot share")),
    ],
)
def test_what_can_never_fit_is_refused_with_both_numbers(nodes, asked, told):
    with pytest.raises(UserError) as error:
        lay_out(nodes, **asked)
    assert all(part in str(error.value) for part in told)
    assert "\n" not in str(error.value)


def test_the_refusal_states_what_was_asked_and_what_there_is():
    with pytest.raises(UserError) as error:
        lay_out((Node(4, 0), Node(8, 2), Node(8, 2)), slots=3, workers=2)
    assert str(error.value).startswith(
        "3 slots of 2 workers ask for 6 times 1 GPU and a core, and there are 20 cores and 4 GPUs "
        "on 3 hosts: room for 4 workers; ask for"
    )


@pytest.mark.parametrize(
    ("nodes", "layout", "slots"),
    [
        ((), Layout(2, 1, 1, 0, 1), 0),
        ((Node(0, 0), Node(3, 0)), Layout(2, 1, 1, 0, 1), 3),
        ((Node(3, 0), Node(3, 0)), Layout(2, 1, 2, 0, 2), 2),
        # Two workers are spread where no host has room for both.
        ((Node(1, 0), Node(1, 0)), Layout(1, 2, 1, 0, 1), 1),
        ((Node(3, 0), Node(2, 0)), Layout(2, 2, 1, 0, 1), 2),
        ((Node(8, 0), Node(8, 2), Node(1, 2)), Layout(3, 1, 1, 1, 8), 3),
        ((Node(8, 1), Node(8, 1)), Layout(2, 1, 1, 0.6, 1), 2),
    ],
)
def test_the_room_for_slots_is_counted_worker_by_worker_on_every_host(nodes, layout, slots):
    assert room(nodes, layout) == slots


@pytest.mark.parametrize("slots", [None, 1, 2])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "nodes", [LAPTOP * 3, GPU_HOST, CLUSTER, (Node(3, 0), Node(3, 0)), (Node(0, 0), Node(6, 0))]
)
def test_there_is_room_for_what_was_laid_out(nodes, workers, slots):
    layout = lay_out(nodes, slots=slots, workers=workers)
    assert room(nodes, layout) >= layout.slots


def test_threads_are_the_cores_of_hosts_with_gpus_alone():
    assert lay_out((Node(64, 0), Node(8, 2))) == Layout(2, 1, 1, 1, 4)


def test_what_an_autoscaler_may_add_without_saying_is_believed():
    head = (Node(2, 0),)
    assert lay_out(head, slots=4, gpus_per_worker=1, bounded=False) == Layout(4, 1, 1, 1, 1)
    assert lay_out((Node(0, 0),), workers=2, bounded=False) == Layout(1, 2, 1, 0, 1)
    with pytest.raises(UserError, match="from 0 to 1"):
        lay_out(head, gpus_per_worker=3, bounded=False)


def test_retraining_takes_every_gpu_or_one_worker_a_host():
    assert retrain_layout(GPU_HOST, None, batch=16) == Layout(1, 4, 1, 1, 4)
    assert retrain_layout(CLUSTER, None, batch=16) == Layout(1, 4, 1, 1, 4)
    assert retrain_layout(LAPTOP, None, batch=16) == Layout(1, 1, 2, 0, 2)
    assert retrain_layout((Node(4, 0), Node(8, 0)), None, batch=16) == Layout(1, 2, 4, 0, 4)


def test_a_gpu_without_a_core_on_its_host_and_a_host_without_cores_count_for_nothing():
    hosts = (Node(2, 8), Node(64, 0))
    assert lay_out(hosts).slots == 2
    assert retrain_layout(hosts, None, batch=16).workers == 2
    assert retrain_layout((Node(0, 0), Node(8, 0)), None, batch=16) == Layout(1, 1, 8, 0, 8)


def test_retraining_never_has_more_workers_than_rows_in_a_batch():
    assert retrain_layout((Node(64, 8),), None, batch=4).workers == 4
    assert retrain_layout((Node(2, 0),) * 8, None, batch=4).workers == 4
