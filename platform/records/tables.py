"""The tables that the records of a sweep are: their columns, and how the files of one are read."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from regbench.platform.records.storage import Storage

SCHEMA_VERSION = "2"
FILES_AT_ONCE = 100

_METRICS = pa.map_(pa.string(), pa.float64())

TRIALS = pa.schema(
    [
        pa.field("sweep", pa.string(), metadata={"help": "name of the sweep"}),
        pa.field("key", pa.string(), metadata={"help": "identifies the trial within its sweep"}),
        pa.field(
            "stage",
            pa.string(),
            metadata={
                "help": "tune: searched; choose: one of the best few on a further seed of tuning; confirm: the chosen "
                "configuration on a fresh seed; ablate: the same with every weight off"
            },
        ),
        pa.field("track", pa.string(), metadata={"help": "family of comparable methods"}),
        pa.field("entry", pa.string(), metadata={"help": "name of the method's entry in the suite"}),
        pa.field("method", pa.string(), metadata={"help": "slug of the method"}),
        pa.field("arxiv", pa.string(), metadata={"help": "arXiv identifier of its paper"}),
        pa.field("data", pa.string(), metadata={"help": "name of the data set"}),
        pa.field("number", pa.int64(), metadata={"help": "counts the trials of a stage of a study, from 0"}),
        pa.field("seed", pa.int64(), metadata={"help": "seed of the training"}),
        pa.field(
            "confirms", pa.int64(), metadata={"help": "after tuning: number of the tuning trial whose configuration this is"}
        ),
        pa.field("replicate", pa.int64(), metadata={"help": "repetition of the whole sweep to which it belongs, from 0"}),
        pa.field("split", pa.int64(), metadata={"help": "number of the data set's split"}),
        pa.field(
            "status",
            pa.string(),
            metadata={"help": "completed, stopped (by the scheduler), failed, or refused (a draw that cannot be)"},
        ),
        pa.field("reason", pa.string(), metadata={"help": "why it failed or was refused, one line"}),
        pa.field("objectives", pa.list_(pa.string()), metadata={"help": "what tuning optimizes"}),
        pa.field("modes", pa.list_(pa.string()), metadata={"help": "max or min, for each objective"}),
        pa.field("values", pa.list_(pa.float64()), metadata={"help": "the objectives at the report that counts"}),
        pa.field("rounds", pa.int64(), metadata={"help": "reports made (epochs, problems, …)"}),
        pa.field(
            "counted_round", pa.int64(), metadata={"help": "whose report counts: the last, or the best on validation data"}
        ),
        pa.field("planned_rounds", pa.int64(), metadata={"help": "reports of a full training"}),
        pa.field("metrics", _METRICS, metadata={"help": "every metric at the report that counts"}),
        pa.field("searched", pa.string(), metadata={"help": "JSON: the searched settings and their values"}),
        pa.field("settings", pa.string(), metadata={"help": "JSON: every setting of the method"}),
        pa.field(
            "learned",
            pa.string(),
            metadata={"help": "how this training learned its weights, with what guarantee; null: it did not"},
        ),
        pa.field("started", pa.timestamp("ms", tz="UTC"), metadata={"help": "first attempt began"}),
        pa.field("ended", pa.timestamp("ms", tz="UTC"), metadata={"help": "record written"}),
        pa.field(
            "seconds", pa.float64(), metadata={"help": "time spent training, over all attempts, without what a crash lost"}
        ),
        pa.field("attempts", pa.int64(), metadata={"help": "1 plus the times it was resumed"}),
        pa.field("host", pa.string(), metadata={"help": "machine of the last attempt"}),
        pa.field("device", pa.string(), metadata={"help": "device of the last attempt"}),
    ],
    metadata={"regbench.schema": SCHEMA_VERSION},
)

CURVES = pa.schema(
    [
        pa.field("sweep", pa.string(), metadata={"help": "name of the sweep"}),
        pa.field("key", pa.string(), metadata={"help": "the trial"}),
        pa.field("round", pa.int64(), metadata={"help": "the report's number, from 1"}),
        pa.field("metric", pa.string(), metadata={"help": "name of the metric, such as val/accuracy"}),
        pa.field("value", pa.float64(), metadata={"help": "its value"}),
        pa.field("time", pa.timestamp("ms", tz="UTC"), metadata={"help": "when it was reported"}),
        pa.field("seconds", pa.float64(), metadata={"help": "time spent training until then"}),
    ],
    metadata={"regbench.schema": SCHEMA_VERSION},
)


def read_table(storage: Storage, folder: str, keys: Sequence[str], schema: pa.Schema, *extra: str) -> pa.Table:
    """The rows of a folder with a file for each of some trials; damaged files are left out, and rows without a key.

    Args:
        storage: of the sweep.
        folder: in it.
        keys: of the trials.
        schema: of the table; columns that a file lacks are empty.
        *extra: further columns that the reader knows, such as ``__filename``.
    """
    paths = [f"{storage.root}/{folder}/{key}.parquet" for key in keys]
    # An open data set keeps the description of each of its files, which is larger than a trial's data.
    batches = (paths[start : start + FILES_AT_ONCE] for start in range(0, len(paths), FILES_AT_ONCE))
    parts = [part for batch in batches for part in _read(storage, batch, schema, extra)]
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _read(storage: Storage, paths: list[str], schema: pa.Schema, extra: Sequence[str]) -> list[pa.Table]:
    """The rows of some files in a few tables, without files that are Parquet and something else."""
    # Brings pandas with it.
    import pyarrow.dataset as ds

    files = ds.dataset(paths, schema=schema, format="parquet", filesystem=storage.filesystem, exclude_invalid_files=True)
    try:
        return [files.to_table(columns=[*schema.names, *extra], filter=ds.field("key").is_valid()).combine_chunks()]
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        half = len(paths) // 2
        return [part for some in (paths[:half], paths[half:]) if half for part in _read(storage, some, schema, extra)]


def read_trials(storage: Storage, folder: str, keys: Sequence[str]) -> pa.Table:
    """The rows of ``TRIALS``, sorted by key; one in a file that is named after another trial, a copy, is none."""
    found = read_table(storage, folder, keys, TRIALS, "__filename")
    if found.num_rows:
        named = pc.replace_substring_regex(found["__filename"], r"^(.*/)?([^/]*)\.parquet$", r"\2")
        found = found.filter(pc.equal(named, found["key"]))
    # Without a filter's metadata.
    return pa.table(found.select(TRIALS.names).columns, schema=TRIALS).sort_by("key")
