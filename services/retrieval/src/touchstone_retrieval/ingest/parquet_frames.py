"""What begins an answer of the process that reads parquet files: eight bytes, so that what follows is aligned."""

DESCRIPTION, BATCH, LARGE_ROW, ERROR = b"describe", b"batch   ", b"largerow", b"error   "
KIND_BYTES = 8
