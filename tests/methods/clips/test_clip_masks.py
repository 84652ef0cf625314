"""Masks, their entropy, the drawing of configurations, and the extraction of frames."""

import math

import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from regbench.methods.clips.extraction import gather_frames, representative_frames
from regbench.methods.clips.masks import FRAMES, TASKS, catalogue, configurations, static_entropy
from regbench.methods.clips.task import extracted
from regbench.methods.shared.data import load


def entropy(given, count=FRAMES):
    mask = torch.zeros(FRAMES, dtype=torch.bool)
    mask[: len(given)] = torch.tensor(given, dtype=torch.bool)
    return static_entropy(mask, torch.arange(FRAMES) < count).item()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 1, 0, 1, 0, 1, 0, 1], 0.157732),
        ([1, 0, 1, 0, 1, 0, 1, 0], 0.157732),
        ([1, 0, 0, 1, 0, 0, 1, 0], 0.197166),
        ([1, 1, 1, 1, 1, 0, 0, 0], 0.180799),
        ([0, 0, 1, 1, 1, 1, 1, 1], 0.101933),
        ([1, 0, 0, 0, 0, 0, 0, 0], 0.603295),
        ([0, 0, 1, 0, 0, 0, 0, 0], 0.476226),
        ([0] * 8, 1.0),
        ([1] * 8, 0.0),
    ],
)
def test_entropy_of_complete_clips(given, expected):
    assert entropy(given) == pytest.approx(expected, abs=1e-6)


def test_entropy_counts_valid_frames_alone():
    assert entropy([1], count=4) == pytest.approx(0.180799, abs=1e-6)


def test_a_further_given_frame_never_raises_the_entropy():
    masks = torch.tensor([[number >> place & 1 for place in range(8)] for number in range(256)], dtype=torch.bool)
    for count in (3, 5, 8):
        found = static_entropy(masks, (torch.arange(8) < count).expand(256, 8))
        for place in range(8):
            more = masks.clone()
            more[:, place] = True
            assert (static_entropy(more, (torch.arange(8) < count).expand(256, 8)) <= found + 1e-12).all()


def test_configurations_of_complete_clips_are_the_papers():
    known = [("".join("01"[flag] for flag in found.given), found.task, found.text) for found in configurations(8, 8)]
    assert sorted(known) == sorted(
        [
            ("01010101", "interpolation", True),
            ("10101010", "interpolation", True),
            ("10010010", "interpolation", True),
            ("11111000", "prediction", True),
            ("00111111", "prediction", True),
            ("10000000", "generation", True),
            ("10000000", "generation", False),
            ("00100000", "generation", True),
            ("00100000", "generation", False),
        ]
    )
    for found in configurations(2, 8):
        # Something is given, and something asked.
        assert 0 < sum(found.given) < found.frames


def test_shares_are_uniform_over_k_then_tasks_then_patterns():
    found = catalogue(3, 8, (1.0, 2.0, 1.0))
    frames, known = found.valid.sum(1), configurations(2, 8)
    assert torch.allclose(found.shares[2:].sum(1), torch.ones(7, dtype=torch.float64))
    for length in range(2, 9):
        for count in range(2, 9):
            # k from 3 to 8 alike, and what exceeds the length is the length.
            expected = sum(min(drawn, length) == count for drawn in range(3, 9)) / 6
            assert found.shares[length][frames == count].sum().item() == pytest.approx(expected)
    complete = [place for place, found in enumerate(known) if found.frames == 8]
    by_task = {task: sum(found.shares[8][place].item() for place in complete if known[place].task == task) for task in TASKS}
    assert by_task == pytest.approx({"interpolation": 1 / 24, "prediction": 2 / 24, "generation": 1 / 24})


def random_clips(count=60, seed=0):
    stream = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, FRAMES + 1, (count,), generator=stream)
    return torch.randn(count, FRAMES, 5, generator=stream, dtype=torch.float64), lengths


def test_groups_of_frames_are_those_of_scipys_ward_linkage():
    features, lengths = random_clips()
    chosen = representative_frames(features, lengths)
    for row, length in enumerate(lengths.tolist()):
        points = features[row, :length].numpy()
        for count in range(1, length):
            labels = fcluster(linkage(points, "ward"), count, "maxclust")
            expected = []
            for label in set(labels):
                members = [place for place in range(length) if labels[place] == label]
                centre = points[members].mean(0)
                gaps = [((points[place] - centre) ** 2).sum() for place in members]
                expected.append(min(members, key=lambda place: (round(gaps[members.index(place)], 9), place)))
            assert chosen[row, count].tolist() == sorted(expected) + [-1] * (FRAMES - len(expected))


def test_a_clip_cut_to_its_length_or_more_is_itself():
    features, lengths = random_clips()
    chosen = representative_frames(features, lengths)
    for row, length in enumerate(lengths.tolist()):
        for count in range(length, FRAMES + 1):
            assert chosen[row, count].tolist() == [*range(length), *[-1] * (FRAMES - length)]


def test_equal_frames_still_make_k_groups():
    chosen = representative_frames(torch.zeros(1, FRAMES, 3), torch.tensor([6]))
    for count in range(1, 7):
        places = chosen[0, count][:count].tolist()
        assert len(set(places)) == count
        assert places == sorted(places)
        assert (chosen[0, count][count:] == -1).all()


def test_padding_changes_no_choice():
    features, lengths = random_clips()
    padded = features.masked_fill((torch.arange(FRAMES) >= lengths[:, None])[..., None], torch.nan)
    assert torch.equal(representative_frames(features, lengths), representative_frames(padded, lengths))


def test_gathered_frames():
    clips = torch.arange(16.0).reshape(2, 8, 1)
    found = gather_frames(clips, torch.tensor([[0, 3, 7, -1, -1, -1, -1, -1], [1, 2, -1, -1, -1, -1, -1, -1]]))
    assert found[..., 0].tolist() == [[0, 3, 7, 0, 0, 0, 0, 0], [9, 10, 0, 0, 0, 0, 0, 0]]


def test_moving_digits_follow_their_scripts():
    data = load("moving_digits")
    clips, lengths, captions = data.validation.tensors
    assert (lengths == FRAMES).all()
    dark = -torch.ones(())
    centred = clips[:, :, 0]
    for motion in range(6):
        rows = captions[:, 1] == 11 + motion
        frames = centred[rows]
        assert rows.sum() > 20
        mass = (frames - dark).sum((2, 3))
        if motion == 5:  # blinking
            assert (mass[:, 1::2] == 0).all()
            assert torch.allclose(frames[:, 0], frames[:, 2])
        else:
            # Nothing leaves the canvas.
            assert torch.allclose(mass, mass[:, :1].expand_as(mass), atol=1e-3)
        if motion in (3, 5):
            assert torch.equal(frames[:, 0], frames[:, 2])
        if motion == 4:
            assert torch.equal(frames[:, 0], frames[:, 4])


def test_lengths_of_training_clips_have_a_long_tail():
    data = load("moving_digits")
    clips, lengths, _ = data.train.tensors
    counts = torch.bincount(lengths, minlength=9)[2:].double()
    chances = 1 / torch.arange(2.0, 9.0, dtype=torch.float64)
    chances /= chances.sum()
    squared = ((counts - 1500 * chances) ** 2 / (1500 * chances)).sum().item()
    assert squared < 22.5  # χ² of 6 degrees of freedom at 0.999
    assert all((clips[row, length:] == 0).all() for row, length in enumerate(lengths.tolist()))
    assert math.isclose(data.complete.tensors[0].shape[1], 8 * 256)
    chosen = extracted(data, torch.device("cpu"))
    assert ((chosen >= 0).sum(2) == torch.minimum(torch.arange(9), lengths[:, None])).all()
