"""The table of what was delivered, row by row, as CSV and as Parquet."""

import csv
import io
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.delivery.chosen import Picture
from pipeline.ledger.cells import calm
from pipeline.ledger.run_file import Run
from pipeline.metadata.xmp import SOURCE_TYPES

CSV, PARQUET = "catalog.csv", "catalog.parquet"
PICTURES = "images/"  # the folder of pictures, beside both
SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("path", pa.string()),  # of the delivered file, relative to the table; null: none
        ("status", pa.string()),  # delivered or failed
        ("reason", pa.string()),
        ("error", pa.string()),
        ("title", pa.string()),
        ("decision", pa.string()),
        ("page", pa.int32()),
        ("candidate", pa.int32()),
        ("rank", pa.int32()),
        ("rank_by", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("log_likelihood", pa.float64()),
        ("bits_per_pixel", pa.float64()),
        ("color_bits_per_dim", pa.float64()),
        ("spatial_bits_per_dim", pa.float64()),
        ("excess_bits", pa.float64()),
        ("mean_distance", pa.float64()),
        ("chroma_excess", pa.float64()),
        ("colorfulness", pa.float64()),
        ("source_uri", pa.string()),
        ("source_sha256", pa.string()),
        ("source_bytes", pa.int64()),
        ("attempt", pa.int32()),
        ("seed", pa.int64()),
        ("digital_source_type", pa.string()),
        ("software", pa.string()),
        ("model", pa.string()),
        ("weights", pa.string()),
        ("run_sha256", pa.string()),
        ("finished_at", pa.timestamp("us", tz="UTC")),
    ]
)
_ROWS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Delivered:
    """What became of a picture. size: bytes. reason: one of errors.REASONS; None where it is
    delivered."""

    picture: Picture
    size: int = 0
    title: str | None = None
    reason: str | None = None
    error: str | None = None


class Catalog:
    """Both tables, written into files row by row; memory does not grow with them."""

    def __init__(self, run: Run, as_csv: BinaryIO, as_parquet: BinaryIO) -> None:
        recipe = run.recipe
        self._same = {
            "digital_source_type": SOURCE_TYPES + recipe.digital_source_type,
            "software": f"Autochrome {recipe.version}".strip(),
            "model": recipe.model,
            "weights": " ".join(f"{name}:{sha}" for name, sha in sorted(recipe.weights.items())),
            "run_sha256": run.digest,
        }
        self._rows: list[dict[str, Any]] = []
        self._csv, self._parquet = as_csv, as_parquet
        self._text = io.TextIOWrapper(self._csv, "utf-8", newline="", write_through=True)
        # With "\n" alone, csv would leave a carriage return in a name without quotes.
        self._lines = csv.DictWriter(self._text, SCHEMA.names, lineterminator="\r\n")
        self._lines.writeheader()
        self._table = pq.ParquetWriter(self._parquet, SCHEMA, compression="zstd")

    def add(self, delivered: Delivered) -> None:
        picture, row = delivered.picture, delivered.picture.row
        there = delivered.reason is None
        self._rows.append(
            {name: row[name] for name in SCHEMA.names if name in row}
            | self._same
            | {
                "path": PICTURES + picture.name if there else None,
                "status": "delivered" if there else "failed",
                "reason": delivered.reason,
                "error": delivered.error,
                "title": delivered.title,
                "decision": picture.decision,
                "sha256": row["output_sha256"],
                "bytes": row["output_bytes"],
            }
        )
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._flush()

    def abandon(self) -> None:
        """End the table while its file is open; once more changes nothing."""
        with suppress(OSError):
            self._table.close()

    def close(self) -> dict[str, BinaryIO]:
        """The files of both tables by their names, from their beginnings."""
        self._flush()
        self._table.close()
        self._text.detach()
        self._csv.seek(0)
        self._parquet.seek(0)
        return {CSV: self._csv, PARQUET: self._parquet}

    def _flush(self) -> None:
        if self._rows:
            self._table.write_table(pa.Table.from_pylist(self._rows, SCHEMA))
            calmed = ({name: calm(value) for name, value in row.items()} for row in self._rows)
            self._lines.writerows(calmed)
            self._rows = []
