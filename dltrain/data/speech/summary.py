"""What was read of the clips of each split, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dltrain.data.speech.check import TOO_LONG, CheckedClips
from dltrain.data.speech.sources import Split
from dltrain.dataset import Treatment

Checked = Mapping[Split, CheckedClips]


def list_treatments(checked: Checked, max_seconds: float) -> tuple[Treatment, ...]:
    """List the clips left out of each split, by reason, and the characters dropped from its transcripts."""
    found = []
    for split, one in checked.items():
        for kind, count in one.count_faults().items():
            reason = f"longer than {max_seconds:g} s" if kind == TOO_LONG else kind
            option = "data.max_seconds" if kind == TOO_LONG else "data.max_bad_fraction"
            what = f"{split} clips left out: {reason}"
            found.append(Treatment(what=what, count=count, total=len(one.clips), option=option, noticed=True))
        if dropped := one.dropped.total():
            what = f"{split} characters dropped: the alphabet does not have them"
            total = dropped + sum(map(len, one.texts))
            found.append(Treatment(what=what, count=dropped, total=total, option="data.alphabet", noticed=True))
    return tuple(found)


def list_facts(checked: Checked, assets: Mapping[str, Any]) -> dict[str, str]:
    """List the hours, speakers and sample rates of each split's usable clips, and the alphabet."""
    facts = {}
    for split, one in checked.items():
        usable = [index for index, fault in enumerate(one.faults) if fault is None]
        speakers = len({one.clips[index].speaker for index in usable} - {""})
        seconds = one.survey.seconds[usable]
        rates = Counter(int(rate) for rate in one.survey.rates[usable])
        stated = f", {speakers} speakers" if speakers else ""
        longest = f", the longest clip {seconds.max():.1f} s" if usable else ""
        facts[f"{split} sound"] = f"{seconds.sum() / 3600:.3g} hours{stated}{longest}"
        facts[f"{split} sample rates"] = ", ".join(f"{rate} Hz: {count}" for rate, count in sorted(rates.items()))
    characters = "".join(assets["alphabet"][1:]).replace(" ", "␣")
    return facts | {"alphabet": f"{len(characters)} characters: {characters}"}
