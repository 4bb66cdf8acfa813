"""The kind of data "speech": padded log-mel features (N, T, bands) and their lengths (N,)."""

from __future__ import annotations

from dltrain.kinds import BATCH, LENGTH, DataSets, Kind, register

register(
    Kind(
        name="speech",
        axes=((BATCH, LENGTH), (BATCH,)),
        singular="recording",
        plural="recordings",
        preparation=(
            "mono sound at assets.sample_rate_hz; log-mel features as assets.features say: Hann windows, power "
            "spectrum in float64, mel filters of equal area, the natural logarithm with a floor of 1e-10; rounded to "
            "float16 once",
            "(feature - mean) / sqrt(variance + 1e-4) of each band: over the recording, or with the numbers in "
            "assets.normalization where these are over the corpus",
            "features are 0 after each recording's end, frames the number of its own",
            "in Python: dltrain.data.speech.log_mel.model_input(sound, assets)",
        ),
        synthetic="dltrain.data.speech.batches:make_synthetic_utterances",
        received="dltrain.data.speech.received:describe_utterances",
        draw="dltrain.observers.sample_pictures:draw_spectrograms",
        sets=(
            DataSets(
                names=("common_voice", "audio"),
                fetched=("common_voice",),
                fetch="dltrain.data.speech.archive:fetch",
                verify="dltrain.data.speech.check:verify",
                settings=("archive", "locale", "subsampling", "max_seconds", "output"),
                check_splits="dltrain.data.speech.check_splits:check_splits",
            ),
            DataSets(
                names=("librispeech", "speech_commands"),
                fetched=("librispeech", "speech_commands"),
                fetch="dltrain.data.speech.published:fetch",
                verify="dltrain.data.speech.check:verify",
                settings=("subsampling", "max_seconds", "output"),
                check_splits="dltrain.data.speech.check_splits:check_splits",
            ),
        ),
    )
)
