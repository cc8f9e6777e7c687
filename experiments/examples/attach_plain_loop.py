"""Fine-tune a Hugging Face classifier with a correlation head in a plain PyTorch loop.

    python experiments/examples/attach_plain_loop.py            # a tiny random BERT on made-up data, seconds

For a real task, put AutoModelForSequenceClassification.from_pretrained(NAME, num_labels=L,
problem_type="multi_label_classification") in place of `tiny_bert` and your own batches in place of `made_up_data`.
"""

import torch

import xmtc

LABELS, WORDS, LENGTH = 12, 60, 10


def tiny_bert():
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return BertForSequenceClassification(
        BertConfig(vocab_size=WORDS, num_labels=LABELS, problem_type="multi_label_classification", **sizes)
    )


def made_up_data(documents=256, seed=0):
    """Word 2 + l calls for label l of the first half; label l + 6 follows from label l."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(20, WORDS, (documents, LENGTH), generator=random)
    causes = torch.randint(0, LABELS // 2, (documents, 2), generator=random)
    tokens[:, :2] = causes + 2
    targets = torch.zeros(documents, LABELS)
    for column in range(2):
        targets[torch.arange(documents), causes[:, column]] = 1
        targets[torch.arange(documents), causes[:, column] + LABELS // 2] = 1
    return tokens, targets


def main(steps=60):
    torch.manual_seed(0)
    model = xmtc.attach_head(tiny_bert(), LABELS, head="lcenet", rank=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tokens, targets = made_up_data()
    losses = []
    for step in range(steps):
        rows = torch.arange(step * 32, step * 32 + 32) % len(tokens)
        loss = model(input_ids=tokens[rows], labels=targets[rows]).loss  # of the enhanced logits
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return model, losses


if __name__ == "__main__":
    _, seen = main()
    print(f"loss {seen[0]:.3f} -> {seen[-1]:.3f}")
