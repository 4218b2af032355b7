"""The same with datasets.map, as in transformers' run_mlm: `tokenize_datasets.py TEXT TOKENIZER LENGTH PROCESSES`."""

import json
import sys
import tempfile
import time
from itertools import chain

import datasets
import transformers

text, where, length, processes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
tokenizer = transformers.BertTokenizerFast(where, model_max_length=10**9)
datasets.disable_progress_bars()


def tokenize(examples):
    return tokenizer(examples["text"], return_special_tokens_mask=True)


def group_texts(examples):
    joined = {name: list(chain(*examples[name])) for name in examples}
    total = len(joined["input_ids"]) // length * length
    return {name: [values[at : at + length] for at in range(0, total, length)] for name, values in joined.items()}


with tempfile.TemporaryDirectory() as cache:
    given = datasets.load_dataset("text", data_files=text, cache_dir=cache)["train"]
    start = time.perf_counter()
    settings = {"batched": True, "num_proc": processes if processes > 1 else None}
    tokenized = given.map(tokenize, remove_columns=["text"], **settings)
    rows = tokenized.map(group_texts, **settings)
    seconds = time.perf_counter() - start
    special = sum(map(sum, tokenized["special_tokens_mask"]))
    tokens = sum(map(len, tokenized["input_ids"])) - special

print(json.dumps({"tokens": tokens, "rows": len(rows), "seconds": seconds, "tokens_per_second": tokens / seconds}))
