"""What a suite says of a data set in a user's files: where they are, what is predicted, how rows are split. Read strictly."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from regbench.methods.errors import DataError
from regbench.methods.strict import Strict

Task = Literal["classification", "regression"]
SPLITS = ("train", "validation", "test")
SOURCES = ("csv", "parquet", "npz", "images", "hf")
# What others call the splits.
SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
# Names on the Hugging Face hub; what begins with a dot is a path.
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class Shares(Strict):
    """How much of the rows is held out."""

    validation: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the rows that tuning sees; of the training rows, where others say which rows test",
    )
    test: float = Field(0.2, gt=0, lt=1, description="share of all rows that only confirmed configurations are judged on")

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation and test take {self.validation + self.test:g} of the rows: leave some to train")
        return self


class Files(Strict):
    """One file with all rows, or a file for each split."""

    all: str | None = Field(None, description="the file with all rows; `csv: a.csv` stands for `csv: {all: a.csv}`")
    train: str | None = Field(None, description="the training rows")
    validation: str | None = Field(None, description="the validation rows; by default drawn from the training rows")
    test: str | None = Field(None, description="the test rows")

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        several = self.train is not None and self.test is not None
        if (self.all is not None) == several or (self.all is not None and (self.train or self.validation or self.test)):
            raise ValueError("give one file, or `train` and `test`, with or without `validation`")
        return self

    @property
    def named(self) -> dict[str, str]:
        """Paths by split, or the one under ``all``."""
        return {name: path for name, path in self.model_dump().items() if path is not None}


def _one_file(value: Any) -> Any:
    """Lets a path stand for a file with all rows."""
    return {"all": value} if isinstance(value, str) else value


FilesField = Annotated[Files | None, BeforeValidator(_one_file)]


class FileData(Strict):
    """A data set in a user's files.

    Columns of text, of categories and of booleans are categories, one-hot (at most 100 of a column, the rest share one input);
    numbers are imputed by the median, with an input that says where, and standardized. What these transformations need is taken
    from the training rows alone. Real targets are standardized by the training rows. Images are in [0, 1], ``[C, H, W]``.
    """

    csv: FilesField = Field(None, description="a CSV file with a header, or one for each split: {train, validation, test}")
    parquet: FilesField = Field(None, description="likewise a Parquet file")
    npz: FilesField = Field(
        None,
        description="likewise NumPy arrays of one length: vectors are columns, a matrix is several, and one array [N, H, W], "
        "[N, C, H, W] or [N, H, W, C] holds images, bytes or numbers in [0, 1]",
    )
    images: str | None = Field(
        None, description="a folder of images: `<class>/*.png`, or `train/<class>/*.png` with `test` and `validation` beside it"
    )
    hf: str | None = Field(
        None, description="a Hugging Face data set: a folder written by save_to_disk, or a name on the hub (extra `hf`)"
    )
    target: str | None = Field(None, description="the column that is predicted; of `images` the classes are the folders")
    features: list[str] | None = Field(None, min_length=1, description="the columns that are inputs; by default all others")
    drop: list[str] = Field([], description="columns that are no inputs")
    text: str | None = Field(
        None, description="the column of texts, then the only input, as tokens: for `architecture: hf:FOLDER`"
    )
    tokenizer: str | None = Field(
        None, description="the folder of the texts' tokenizer, as save_pretrained writes it (extra `text`)"
    )
    length: int = Field(128, ge=1, description="tokens of a text at most")
    task: Task | None = Field(
        None,
        description="classification or regression; by default text, booleans, categories and at most 20 different whole "
        "numbers are classes, other numbers real values",
    )
    protected: list[str] = Field(
        [],
        description="columns with protected attributes, for track fairness: no inputs; their combinations are the groups (of "
        "one with real values: above its median, or not)",
    )
    split: Shares | None = Field(
        None, description="shares of the rows: {validation: 0.2, test: 0.2}; drawn by the number of the split, classes alike"
    )
    split_column: str | None = Field(None, description="the column that says train, validation or test")
    group: str | None = Field(None, description="the column whose rows of one value stay in one split, such as patients")
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        None, description="height and width to which images are resized; by default all must have one size"
    )
    in_memory: bool | None = Field(
        None,
        description="of `images`: whether all are decoded at once, or each whenever it is needed, which trains alike, slower, "
        "with memory for a few batches; by default in memory where they take less than 1 GB (12 bytes a pixel)",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        """What cannot work, each with what to do instead."""
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            yield f"give one of {', '.join(SOURCES)}" + (f", not both {given[0]} and {given[1]}" if given else "")
        columns = ("target", "features", "drop", "protected", "split_column", "group")
        if self.images is not None:
            for name in columns:
                if getattr(self, name):
                    yield f"a folder of images has no columns: leave out {name}"
            if self.task == "regression":
                yield "a folder of images has classes: leave out task"
        elif self.target is None:
            yield "target is missing: name the column that is predicted"
        for name in ("features", "drop", "protected", "split_column", "group"):
            value = getattr(self, name)
            if self.target is not None and (self.target == value or self.target in (value or [])):
                yield f"'{self.target}' is the target: it cannot stand in {name} too"
        if self.features and self.drop:
            yield "features says which columns are inputs: leave out drop"
        if (self.text is None) != (self.tokenizer is None):
            yield "texts need both `text`, their column, and `tokenizer`, its folder"
        if self.text is not None and (self.features or self.drop or self.protected or self.images):
            yield "the column of texts is the only input: leave out features, drop and protected"
        if self.text is not None and self.task == "regression":
            yield "texts are classified: leave out task"
        if both := sorted({*(self.features or [])} & {*self.protected}):
            yield f"'{both[0]}' is protected, so it is no input: leave it out of features"
        if self.split_column and (self.group or self.split):
            yield f"split_column says which rows are which: leave out {'group' if self.group else 'split'}"
        if self._by_files and (self.split_column or self.group):
            yield f"the files are the splits: leave out {'group' if self.group else 'split_column'}"
        if self.in_memory is not None and self.images is None:
            yield "in_memory is for folders of images; all else is read at once: leave it out"
        if self.size is not None and (self.csv or self.parquet or self.npz):
            yield "size is for images in files of their own: leave it out"

    @property
    def source(self) -> str:
        """Which of the sources is given: csv, parquet, npz, images or hf."""
        return next(name for name in SOURCES if getattr(self, name) is not None)

    @property
    def paths(self) -> dict[str, str]:
        """Where the data are, by split or under ``all``."""
        found = getattr(self, self.source)
        return found.named if isinstance(found, Files) else {"all": found}

    @property
    def label(self) -> str:
        """How messages call all of it: the name of its file or folder, or the name on the hub."""
        path = next(iter(self.paths.values()))
        return path if self.on_hub else Path(path).name or path

    @property
    def on_hub(self) -> bool:
        """Whether it is a name on the Hugging Face hub rather than a folder here."""
        return self.hf is not None and HUB_NAME.fullmatch(self.hf) is not None and not Path(self.hf).is_dir()

    @property
    def _by_files(self) -> bool:
        return len(self.paths) > 1

    @property
    def splits(self) -> bool:
        """Whether rows can be split anew: files, folders or a column that say which rows are which leave one split."""
        if self.split_column or self._by_files or self.on_hub:
            return False
        if self.images is not None:
            return not (Path(self.images) / "train").is_dir()
        names = Path(self.hf) / "dataset_dict.json" if self.hf is not None else None
        # The file is written where a data set has named splits; one that is `train` alone is split here.
        return names is None or not names.is_file() or len(json.loads(names.read_text(encoding="utf-8"))["splits"]) == 1

    @property
    def tracks(self) -> tuple[str, ...]:
        """The names of the tracks that it may fit, as far as that is known before it is read."""
        if self.protected:
            return ("fairness",)
        if self.images is not None or self.text is not None:
            return ("classification",)
        return (self.task,) if self.task else ("classification", "regression")

    def resolved(self, base: Path) -> Self:
        """The same with absolute paths; relative ones are seen from the folder ``base``."""

        def absolute(path: str) -> str:
            return str((base / Path(path).expanduser()).absolute())

        found = getattr(self, self.source)
        if self.tokenizer is not None:
            self = self.model_copy(update={"tokenizer": absolute(self.tokenizer)})
        if isinstance(found, Files):
            named = {name: absolute(path) for name, path in found.named.items()}
            return self.model_copy(update={self.source: Files(**named)})
        if self.hf is not None and not Path(absolute(self.hf)).is_dir() and HUB_NAME.fullmatch(self.hf):
            return self
        return self.model_copy(update={self.source: absolute(found)})

    def digest(self) -> str:
        """A hash of the contents of the files; of folders also of names. Of a data set on the hub, of its name.

        Raises:
            DataError: a file cannot be read.
        """
        state = hashlib.blake2b(self.source.encode(), digest_size=16)
        for split, path in self.paths.items():
            state.update(f"\0{split}\0{path if self.on_hub else ''}".encode())
            for name, file in () if self.on_hub else _files(Path(path)):
                try:
                    with file.open("rb") as opened:
                        content = hashlib.file_digest(opened, "blake2b").hexdigest()
                except OSError as error:
                    raise DataError(f"cannot read {file}: {error.strerror}") from None
                state.update(f"\0{name}\0{file.stat().st_size}\0{content}".encode(errors="surrogateescape"))
        return state.hexdigest()


def _files(path: Path) -> list[tuple[str, Path]]:
    """The visible files of a folder by their names below it, sorted; or the one file, without a name."""
    if not path.is_dir():
        return [("", path)]
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    return sorted((name, file) for name, file in files.items() if not any(part.startswith(".") for part in name.split("/")))
