"""Fine-tune a Hugging Face classifier with a correlation head by Hugging Face's Trainer, save it and load it again.

pip install accelerate
python experiments/examples/attach_trainer.py OUTPUT_FOLDER    # a tiny random BERT on made-up data, seconds
"""

import sys
from pathlib import Path

import torch
from attach_plain_loop import LABELS, made_up_data, tiny_bert
from torch.utils.data import Dataset

import xmtc


class Rows(Dataset):
    def __init__(self, tokens, targets):
        self.tokens, self.targets = tokens, targets

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, i):
        return {"input_ids": self.tokens[i], "labels": self.targets[i]}


def main(folder, steps=40):
    from transformers import BertForSequenceClassification, Trainer, TrainingArguments

    torch.manual_seed(0)
    model = xmtc.attach_head(tiny_bert(), LABELS, head="lcenet", rank=8)
    arguments = TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=32, learning_rate=3e-3, report_to=[], use_cpu=True,
        disable_tqdm=True, save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    data = Rows(*made_up_data())
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    trainer.save_model()  # config.json and model.safetensors, the head in both
    loaded = BertForSequenceClassification.from_pretrained(folder)
    xmtc.attach_head(loaded, weights=folder)
    return model, loaded, before, after


if __name__ == "__main__":
    _, _, first, last = main(Path(sys.argv[1]))
    print(f"loss {first:.3f} -> {last:.3f}")
