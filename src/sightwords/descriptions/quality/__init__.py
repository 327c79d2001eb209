"""Whether an answer is a usable description: it is cleaned, then checked, without asking any model."""

from sightwords.descriptions.quality.judge import Rules, Verdict, judge

__all__ = ["Rules", "Verdict", "judge"]
