"""transformers' Trainer on language modelling: `trainer_lm.py masked|causal|documents shipped|tuned TEXT STEPS`.

BERT 6x384 (vocabulary 30,522, 32x128) or GPT-2 6x384 (vocabulary 50,257, 16x256). `shipped` is float32 as the library
comes; `tuned` is bf16 with the fused optimiser. Rows are packed as the library's own examples pack them, except for
`documents`: there each row is one document, padded to the longest of its batch by the library's collator.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers as hf

from benchmarks.answer import SHARED

kind, mode, text = sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_text(encoding="utf8")
steps = int(sys.argv[4])
dropout = {} if len(sys.argv) <= 5 else {"dropout": float(sys.argv[5])}
torch.manual_seed(0)

if kind == "masked":
    tokenizer = hf.BertTokenizerFast(str(SHARED / "weights/tokenizers/bert_base_uncased_vocab.txt"))
    rows, width = 32, 128
    rates = {name: dropout["dropout"] for name in ("hidden_dropout_prob", "attention_probs_dropout_prob") if dropout}
    config = hf.BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=6, intermediate_size=1536, **rates)
    model = hf.BertForMaskedLM(config)
    collate = hf.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
else:
    where = SHARED / "weights/tokenizers"
    tokenizer = hf.GPT2TokenizerFast(str(where / "gpt2_vocab.json"), str(where / "gpt2_merges.txt"))
    tokenizer.pad_token = tokenizer.eos_token or "<|endoftext|>"
    rows, width = 16, 256
    rates = {name: dropout["dropout"] for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop") if dropout}
    config = hf.GPT2Config(n_embd=384, n_layer=6, n_head=6, vocab_size=50257, **rates)
    model = hf.GPT2LMHeadModel(config)
    collate = hf.DataCollatorForLanguageModeling(tokenizer, mlm=False)

if kind == "documents":
    paragraphs = [line for line in text.split("\n\n") if line.strip()]
    data = [{"input_ids": ids[:width]} for ids in tokenizer(paragraphs, add_special_tokens=False)["input_ids"] if ids]
else:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    data = [{"input_ids": ids[at : at + width]} for at in range(0, len(ids) - width, width)]


class Clock(hf.TrainerCallback):
    """Times the steps after the first two, and counts the tokens that are no padding."""

    tokens = 0

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            self.start, Clock.tokens = time.perf_counter(), 0
        self.now = time.perf_counter()


def counted(features):
    batch = collate(features)
    Clock.tokens += int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel()
    return batch


clock = Clock()
tuned = {"bf16": True, "optim": "adamw_torch_fused"} if mode == "tuned" else {}
arguments = hf.TrainingArguments(
    output_dir=tempfile.mkdtemp(), max_steps=steps, per_device_train_batch_size=rows, learning_rate=1e-4, report_to=[],
    save_strategy="no", logging_steps=10_000, use_cpu=True, disable_tqdm=True, **tuned,
)  # fmt: skip
trainer = hf.Trainer(model=model, args=arguments, train_dataset=data, data_collator=counted, callbacks=[clock])
trainer.train()
row = {
    "peer": f"transformers {hf.__version__} Trainer {mode}",
    "tokens_per_second": round(Clock.tokens / (clock.now - clock.start), 1),
    "step_seconds": round((clock.now - clock.start) / (steps - 2), 4),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "threads": torch.get_num_threads(),
}
print(json.dumps(row))
