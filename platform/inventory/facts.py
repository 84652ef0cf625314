"""Methods, tracks and data sets as plain data, and the refusal of names that are none of theirs."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from regbench.methods.errors import ConfigError, nearest


class Plain(BaseModel):
    """Facts that JSON can hold."""

    model_config = ConfigDict(frozen=True)


class SettingFacts(Plain):
    """A setting of a method, as text.

    Attributes:
        name: the field.
        default: its default.
        help: its meaning, one line.
        searched: the range that is searched by default, "" where it is not.
        symbol: the paper's, of a regularization weight; None for any other setting.
        off: of a weight, the value that switches it off.
        differentiable: of a weight, whether the training objective is differentiable in it.
    """

    name: str
    default: str
    help: str
    searched: str
    symbol: str | None = None
    off: str = ""
    differentiable: bool = False


class MethodFacts(Plain):
    """A method.

    Attributes:
        slug: its name.
        track: its track's name.
        doc: its docstring, a line for each paragraph and list item.
        source: authors, venue, year and arXiv identifier; "" for a classic without a paper.
        citation: the same with the title.
        settings: the weights first, then what it adds to its track's, then the rest.
        learned: whether its weights can be learned by gradient: ``exactly``, ``approximately``, ``no``; "" without weights.
        learning: the same for each weight, with the reason, in a sentence.
    """

    slug: str
    track: str
    doc: str
    source: str
    citation: str
    settings: list[SettingFacts]
    learned: str
    learning: str

    @property
    def weights(self) -> list[SettingFacts]:
        """Its regularization weights."""
        return [setting for setting in self.settings if setting.symbol is not None]

    def require_settings(self, names: Iterable[str]) -> None:
        """Refuses names that are no settings of the method.

        Raises:
            ConfigError: names the nearest ones.
        """
        known = [setting.name for setting in self.settings]
        for name in names:
            if name not in known:
                raise ConfigError(f"{self.slug} has no setting '{name}'; {nearest(name, known)}")


class MetricFacts(Plain):
    """A metric of a track, the name without prefix."""

    name: str
    mode: Literal["max", "min"]


class TrackFacts(Plain):
    """A track; see ``regbench.methods.method.Track``."""

    name: str
    help: str
    metrics: list[MetricFacts]
    data: list[str]
    baseline: str


class DataFacts(Plain):
    """A data set.

    Attributes:
        name: its name.
        help: what it is.
        folder: what it needs below ``REGBENCH_DATA``; None: embedded.
        splits: whether it can be split anew, into splits of other numbers than 0.
    """

    name: str
    help: str
    folder: str | None
    splits: bool = False


class Inventory(Plain):
    """All that there is, by name; methods by track, each track's baseline first."""

    tracks: dict[str, TrackFacts]
    methods: dict[str, MethodFacts]
    data: dict[str, DataFacts]

    def method(self, slug: str) -> MethodFacts:
        """The method of that slug.

        Raises:
            ConfigError: there is none.
        """
        if slug not in self.methods:
            raise ConfigError(f"unknown method '{slug}'; {nearest(slug, self.methods)}")
        return self.methods[slug]

    def track(self, name: str) -> TrackFacts:
        """The track of that name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self.tracks:
            raise ConfigError(f"unknown track '{name}'; {nearest(name, self.tracks)}")
        return self.tracks[name]

    def data_set(self, name: str) -> DataFacts:
        """The data set of that name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self.data:
            raise ConfigError(f"unknown data set '{name}'; {nearest(name, self.data)}")
        return self.data[name]

    def require_fitting(self, data: str, track: str) -> None:
        """Refuses a data set that is none of a track's.

        Raises:
            ConfigError: it does not exist, or does not fit.
        """
        if self.data_set(data).name not in (fitting := self.tracks[track].data):
            raise ConfigError(f"data set '{data}' does not fit track {track}; {nearest(data, fitting)}")

    def track_of(self, slug: str) -> TrackFacts:
        """The track of a method.

        Raises:
            ConfigError: there is no such method.
        """
        return self.tracks[self.method(slug).track]
