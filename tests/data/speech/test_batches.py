"""Batches of spoken clips and their augmentation: functions of (seed, epoch, index)."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from dltrain.batch import NO_TARGET
from dltrain.data.speech.augmentation import (
    add_noise,
    add_quiet,
    change_gain,
    change_tempo,
    count_chances,
    draw_tempo,
    draw_warp,
    mask_features,
    warp_frequencies,
)
from dltrain.data.speech.batches import (
    BatchLimit,
    PreparedClips,
    SpeechEvaluationBatches,
    SpeechTrainingBatches,
    make_buckets,
)
from dltrain.data.speech.log_mel import FrequencyBands, build_extractor, compute_bands
from dltrain.data.speech.options import LogMel, SpeechAugmentation
from dltrain.data.speech.sound import Sound, resample
from dltrain.data.speech.statistics import compute_moments, normalize_features
from dltrain.runtime.seeds import draw_uniform, make_generator

BANDS = 6
PLACES = FrequencyBands(numpy.arange(1, BANDS + 1) * 1000.0, 7000.0)


def spoken(count: int = 203, seed: int = 0, statistics: numpy.ndarray | None = None) -> PreparedClips:
    """Clips of 20 to 300 frames; the features of clip k are around k / 20."""
    draw = numpy.random.default_rng(seed)
    frames = draw.integers(20, 300, count)
    features = [
        draw.normal(place / 20, 2, (length, BANDS)).astype(numpy.float32) for place, length in enumerate(frames)
    ]
    targets = [draw.integers(1, 9, int(draw.integers(1, 5))) for _ in frames]
    return PreparedClips([None] * count, frames, targets, features.__getitem__, statistics)  # type: ignore[list-item]


def training(limit: BatchLimit = BatchLimit(16), seed: int = 3, **augmentation: object) -> SpeechTrainingBatches:
    settings = SpeechAugmentation(**augmentation)  # type: ignore[arg-type]
    return SpeechTrainingBatches(
        spoken(), limit, seed=seed, augmentation=settings, subsampling=4, hop_seconds=0.01, bands=PLACES
    )


@pytest.mark.parametrize("limit", [BatchLimit(16), BatchLimit(None, 3000), BatchLimit(1), BatchLimit(500)])
def test_every_epoch_has_each_clip_once_in_as_many_batches(limit: BatchLimit) -> None:
    batches = training(limit)
    for epoch in range(4):
        places = batches.plan_epoch(epoch)
        assert len(places) == len(batches)
        assert sorted(numpy.concatenate(places)) == list(range(203))
    assert [list(batch) for batch in batches.plan_epoch(1)] != [list(batch) for batch in batches.plan_epoch(2)]


def test_no_batch_is_larger_than_asked_for() -> None:
    by_seconds, by_count = training(BatchLimit(None, 3000)), training(BatchLimit(16))
    frames = by_seconds.spoken.frames
    for epoch in range(3):
        assert max(len(places) * frames[places].max() for places in by_seconds.plan_epoch(epoch)) <= 3000
        sizes = [len(places) for places in by_count.plan_epoch(epoch)]
        assert max(sizes) == 16
        assert sum(size < 16 for size in sizes) == 1


@pytest.mark.parametrize("limit", [BatchLimit(16), BatchLimit(None, 3000)])
def test_the_first_batch_of_all_takes_most_memory(limit: BatchLimit) -> None:
    batches = training(limit)
    frames = batches.spoken.frames
    sizes = [[len(p) * int(frames[p].max()) for p in batches.plan_epoch(epoch)] for epoch in range(5)]
    assert sizes[0][0] == max(map(max, sizes))
    assert any(later[0] != max(later) for later in sizes[1:])  # only the first epoch is in that order


def test_like_lengths_together_pad_little() -> None:
    batches = training()
    shuffled = numpy.random.default_rng(0).permutation(203)
    rows = [shuffled[start : start + 16] for start in range(0, 203, 16)]
    frames = batches.spoken.frames
    naive = 1 - frames.sum() / sum(len(row) * frames[row].max() for row in rows)
    assert batches.padding_share(0) < 0.5 * naive
    made = [batches.batch(0, index) for index in range(len(batches))]
    real = sum(int(batch.frames.sum()) for batch in made)
    held = sum(batch.features.numel() // BANDS for batch in made)
    assert batches.padding_share(0) == pytest.approx(1 - real / held)


def test_a_batch_is_padded_with_zeros_and_no_targets() -> None:
    batches = training()
    batch = batches.batch(1, 2)
    assert batch.features.dtype == torch.float32
    assert {batch.frames.dtype, batch.targets.dtype, batch.target_lengths.dtype, batch.clips.dtype} == {torch.int64}
    assert batch.features.shape == (16, int(batch.frames.max()), BANDS)
    for row, place in enumerate(batch.clips.tolist()):
        length, said = int(batch.frames[row]), int(batch.target_lengths[row])
        raw = batches.spoken.features(place)
        numpy.testing.assert_array_equal(batch.features[row, :length], normalize_features(raw, *compute_moments(raw)))
        assert not batch.features[row, length:].any()
        assert batch.targets[row, :said].tolist() == list(batches.spoken.targets[place])
        assert (batch.targets[row, said:] == NO_TARGET).all()
    assert batch.count == int(batch.target_lengths.sum())


def test_shared_statistics_are_used_where_given() -> None:
    statistics = numpy.tile(numpy.array([[3.0] * BANDS, [4.0] * BANDS], numpy.float32), (10, 1, 1))
    clips = spoken(10, statistics=statistics)
    numpy.testing.assert_allclose(clips.normalize(7, clips.features(7)), (clips.features(7) - 3) / 2, atol=1e-3)


def test_batches_do_not_depend_on_what_was_asked_before() -> None:
    everything = {"time_masks": 2, "frequency_masks": 1, "tempo": [0.9, 1.0, 1.1], "gain_db": 6.0, "noise": 0.5}
    everything |= {"warp": (0.9, 1.1), "quiet_seconds": 0.1}
    first, second = training(**everything), training(**everything)
    for epoch, index in [(0, 0), (2, 5), (1, 3)]:
        second.batch(1, 1)
        one, other = first.batch(epoch, index), second.batch(epoch, index)
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.clips, other.clips)
    assert not torch.equal(training(seed=4).batch(0, 1).clips, training(seed=3).batch(0, 1).clips)


def test_a_clip_meets_the_same_chances_in_whatever_batch() -> None:
    settings = {"time_masks": 1, "tempo": [0.9, 1.1], "noise": 1.0, "warp": (0.8, 1.25), "quiet_seconds": 0.2}
    one, other = training(BatchLimit(4), **settings), training(BatchLimit(7), **settings)

    def heard(batches: SpeechTrainingBatches, place: int) -> torch.Tensor:
        for index, places in enumerate(batches.plan_epoch(1)):
            if place in places:
                batch = batches.batch(1, index)
                row = list(places).index(place)
                return batch.features[row, : int(batch.frames[row])]
        raise AssertionError

    assert torch.equal(heard(one, 50), heard(other, 50))


def test_evaluation_is_every_clip_once_longest_first() -> None:
    batches = SpeechEvaluationBatches(spoken(), BatchLimit(32))
    assert len(batches) == math.ceil(203 / 32)
    seen = torch.cat([batches.batch(0, index).clips for index in range(len(batches))])
    assert sorted(seen.tolist()) == list(range(203))
    lengths = torch.cat([batches.batch(9, index).frames for index in range(len(batches))])
    assert (lengths.diff() <= 0).all()
    nothing = PreparedClips([], numpy.zeros(0, int), [], lambda place: None, None)  # type: ignore[arg-type,return-value]
    assert len(SpeechEvaluationBatches(nothing, BatchLimit(4))) == 0


def test_buckets_by_hand() -> None:
    frames = numpy.array([10, 40, 20, 30, 5])
    found = make_buckets(frames, BatchLimit(None, 60), 2)
    assert [(bucket.indices.tolist(), bucket.size) for bucket in found] == [([1, 3], 1), ([2, 0, 4], 3)]


# Augmentation ----------------------------------------------------------------------------------------------------


def test_a_tempo_resamples_time() -> None:
    ramp = numpy.arange(100, dtype=numpy.float32)[:, None] * numpy.ones((1, 3), numpy.float32)
    faster, slower = change_tempo(ramp, 1.25), change_tempo(ramp, 0.8)
    assert (len(faster), len(slower)) == (80, 125)
    # Of a ramp every value is its own time: centres of equal stretches.
    numpy.testing.assert_allclose(faster[:, 0], (numpy.arange(80) + 0.5) * 1.25 - 0.5, atol=1e-4)
    numpy.testing.assert_allclose(slower[1:-1, 0], (numpy.arange(125)[1:-1] + 0.5) * 0.8 - 0.5, atol=1e-4)
    assert change_tempo(ramp, 1.0) is ramp
    assert len(change_tempo(ramp[:1], 9.0)) == 1


def test_tempos_are_equally_likely() -> None:
    settings = SpeechAugmentation(tempo=[0.9, 1.0, 1.1])
    drawn = [draw_tempo(settings, chance) for chance in numpy.arange(300) / 300]
    assert [drawn.count(factor) for factor in (0.9, 1.0, 1.1)] == [100, 100, 100]
    assert draw_tempo(SpeechAugmentation(), 0.99) == 1.0


def test_a_clip_too_short_for_its_text_keeps_its_tempo() -> None:
    frames = numpy.array([40])
    features = numpy.random.default_rng(0).normal(0, 1, (40, BANDS)).astype(numpy.float32)
    for target, expected in ((numpy.arange(1, 11), 40), (numpy.arange(1, 6), 20)):
        clips = PreparedClips([None], frames, [target], lambda place: features, None)  # type: ignore[list-item]
        batches = SpeechTrainingBatches(
            clips,
            BatchLimit(1),
            seed=0,
            augmentation=SpeechAugmentation(tempo=[2.0]),
            subsampling=4,
            hop_seconds=0.01,
            bands=PLACES,
        )
        assert batches.batch(0, 0).frames.tolist() == [expected]


@pytest.mark.parametrize("rate", [12800, 20000])
def test_speed_is_that_of_the_sound_played_faster_or_slower(rate: int) -> None:
    """Bands of noise that come and go, played at another sample rate: 0.8 and 1.25 times as fast."""
    pytest.importorskip("soxr")
    draw = numpy.random.default_rng(0)
    spectrum = numpy.fft.rfft(draw.standard_normal(5 * 16000))
    hertz = numpy.fft.rfftfreq(5 * 16000, 1 / 16000)
    shape = sum(numpy.exp(-(((hertz - centre) / 200) ** 2)) for centre in (600, 1500, 2600, 4000)) + 0.01
    samples = (numpy.fft.irfft(spectrum * shape) * (1 + numpy.sin(numpy.arange(5 * 16000) / 1600))).astype("float32")
    options = LogMel(bands=60)
    extract = build_extractor(options, 16000)
    original, played = extract(samples), extract(resample(Sound(samples, rate, 1), 16000))
    identity = numpy.array([[[0.0] * 60, [1 - 1e-4] * 60]], numpy.float32)
    bands = compute_bands(options, 16000)

    def changed(**augmentation: list[float]) -> numpy.ndarray:
        clip = PreparedClips([None], numpy.array([len(original)]), [numpy.array([1])], lambda _: original, identity)  # type: ignore[list-item]
        settings = SpeechAugmentation(**augmentation)  # type: ignore[arg-type]
        batch = SpeechTrainingBatches(
            clip, BatchLimit(1), seed=0, augmentation=settings, subsampling=4, hop_seconds=0.01, bands=bands
        ).batch(1, 0)
        return batch.features[0].numpy()

    factor = rate / 16000
    inside = bands.centres_hz < 4500  # below the knee for both
    sped, shortened = changed(speed=[factor]), changed(tempo=[factor])
    assert abs(len(sped) - len(played)) <= 1
    truth = played.mean(0)[inside] + math.log(factor)  # the same power, over bands that are so much wider
    assert numpy.abs(sped.mean(0)[inside] - truth).mean() < 0.15
    assert numpy.abs(shortened.mean(0)[inside] - truth).mean() > 0.8


def test_the_first_batch_is_at_the_slowest_speed() -> None:
    batches = training(speed=[0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
    first = batches.batch(0, 0)
    assert torch.equal(first.frames, torch.from_numpy(2 * batches.spoken.frames[batches.plan_epoch(0)[0]]))


def test_the_first_batch_is_at_the_slowest_tempo() -> None:
    batches = training(tempo=[0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
    first = batches.batch(0, 0)
    assert torch.equal(first.frames, torch.from_numpy(2 * batches.spoken.frames[batches.plan_epoch(0)[0]]))
    later = batches.batch(0, 1)
    assert not torch.equal(later.frames, torch.from_numpy(2 * batches.spoken.frames[batches.plan_epoch(0)[1]]))


@pytest.mark.parametrize("options", [LogMel(bands=40), LogMel(bands=23, scale="htk", low_hz=100.0, high_hz=3400.0)])
def test_bands_lie_where_librosa_puts_them(options: LogMel) -> None:
    librosa = pytest.importorskip("librosa")
    low, high = options.low_hz, options.high_hz or 4000.0
    with_ends = librosa.mel_frequencies(options.bands + 2, fmin=low, fmax=high, htk=options.scale == "htk")
    centres_hz, top_hz = compute_bands(options, 8000)
    numpy.testing.assert_allclose(centres_hz, with_ends[1:-1], rtol=1e-9)
    assert top_hz == high


def test_a_warp_multiplies_frequencies_up_to_its_knee() -> None:
    bands = compute_bands(LogMel(bands=40), 8000)
    hertz = numpy.tile(bands.centres_hz.astype(numpy.float32), (3, 1))  # every value is its own frequency
    inner = slice(2, -2)  # beyond the outermost centres there is nothing to read between
    for factor, knee_hz in ((1.25, 3200.0), (0.8, 2560.0)):
        ends = [0, knee_hz, 4000], [0, knee_hz / factor, 4000]
        expected = numpy.interp(bands.centres_hz, *ends)
        numpy.testing.assert_allclose(warp_frequencies(hertz, bands, factor)[1, inner], expected[inner], rtol=1e-5)
        low = bands.centres_hz[inner] < knee_hz
        numpy.testing.assert_allclose(
            (hertz / warp_frequencies(hertz, bands, factor))[0, inner][low], factor, rtol=1e-5
        )
    assert warp_frequencies(hertz, bands, 1.0) is hertz


def test_warps_are_even_on_a_logarithmic_scale() -> None:
    settings = SpeechAugmentation(warp=(0.8, 1.8))
    drawn = [draw_warp(settings, chance) for chance in (0.0, 0.5, 1.0)]
    assert drawn == pytest.approx([0.8, 1.2, 1.8])
    assert draw_warp(SpeechAugmentation(), 0.7) == 1.0


def test_quiet_is_each_bands_lowest_and_as_long_as_drawn() -> None:
    settings = SpeechAugmentation(quiet_seconds=0.3)
    features = numpy.array([[3.0, 1.0], [2.0, 5.0]], numpy.float32)
    lengths = [
        (len(add_quiet(features, settings, (chance, 0), 0.1)), len(add_quiet(features, settings, (0, chance), 0.1)))
        for chance in (0.0, 0.25, 0.5, 0.999, 1.0)
    ]
    assert lengths == [(2, 2), (3, 3), (4, 4), (5, 5), (5, 5)]
    assert add_quiet(features, settings, (0.3, 0.6), 0.1).tolist() == [[2, 1], [3, 1], [2, 5], [2, 1], [2, 1]]


def test_a_batch_holds_what_its_chances_say() -> None:
    settings = SpeechAugmentation(warp=(0.8, 1.25), quiet_seconds=0.2, gain_db=6.0, time_masks=1)
    batches = training(**vars(settings))
    batch = batches.batch(1, 3)
    chances = draw_uniform(3, 1, batch.clips, count_chances(settings)).numpy()
    for row, place in enumerate(batch.clips.tolist()):
        raw = add_quiet(batches.spoken.features(place), settings, chances[row, 2:4], 0.01)
        raw = change_gain(raw, settings, float(chances[row, 4]))
        expected = warp_frequencies(
            normalize_features(raw, *compute_moments(raw)), PLACES, draw_warp(settings, float(chances[row, 1]))
        )
        mask_features(expected, settings, chances[row, 7:], 0.01)
        numpy.testing.assert_array_equal(batch.features[row, : batch.frames[row]], expected)


def test_the_first_batch_has_all_the_quiet_there_may_be() -> None:
    batches = training(quiet_seconds=0.2)
    first, later = batches.batch(0, 0), batches.batch(0, 1)
    assert torch.equal(first.frames, torch.from_numpy(40 + batches.spoken.frames[batches.plan_epoch(0)[0]]))
    assert not torch.equal(later.frames, torch.from_numpy(40 + batches.spoken.frames[batches.plan_epoch(0)[1]]))


def test_a_gain_is_its_decibels() -> None:
    settings = SpeechAugmentation(gain_db=10.0)
    silent = numpy.zeros((2, 3), numpy.float32)
    for chance, decibels in ((0.0, -10), (0.5, 0), (0.75, 5)):
        assert 10 * numpy.log10(numpy.exp(change_gain(silent, settings, chance))) == pytest.approx(decibels, abs=1e-5)


def test_noise_has_the_ratio_asked_for_and_varies() -> None:
    settings = SpeechAugmentation(noise=1.0, noise_snr_db=(10.0, 10.0))
    clean = numpy.full((2000, 40), 2.0, numpy.float32)
    added = numpy.exp(add_noise(clean, settings, 0.3, make_generator("noise", 0))) - numpy.exp(clean)
    assert 10 * numpy.log10(numpy.exp(2.0) / added.mean()) == pytest.approx(10, abs=0.1)
    assert added.min() > -1e-5
    relative = added.var() / added.mean() ** 2  # of a gamma variable: one over its shape
    assert relative == pytest.approx(1 / 3, rel=0.05)


def test_masks_blank_at_most_what_is_allowed() -> None:
    settings = SpeechAugmentation(time_masks=1, time_mask_seconds=0.2, frequency_masks=1, frequency_mask_bands=3)
    assert count_chances(settings) == 11
    draw = numpy.random.default_rng(0)
    widths, heights, touched = set(), set(), numpy.zeros((100, 10), bool)
    for _ in range(2000):
        features = numpy.ones((100, 10), numpy.float32)
        mask_features(features, settings, draw.random(4), 0.01)
        blank = features == 0
        rows, columns = blank.all(1), blank.all(0)
        assert (blank == rows[:, None] | columns[None, :]).all()
        assert (numpy.diff(numpy.flatnonzero(rows)) == 1).all()
        widths.add(int(rows.sum()))
        heights.add(int(columns.sum()))
        touched |= blank
    assert widths == set(range(21))
    assert heights == set(range(4))
    assert touched.all()


def test_a_time_mask_is_a_share_of_a_short_clip_at_most() -> None:
    settings = SpeechAugmentation(time_masks=1, time_mask_seconds=5.0, time_mask_share=0.3)
    features = numpy.ones((10, 2), numpy.float32)
    mask_features(features, settings, numpy.array([0.999, 0.0]), 0.01)
    assert features[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
