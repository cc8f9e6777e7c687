"""MATCH (Zhang et al., WWW 2021): metadata among the words, and labels that know what lies above them.

    8 CLS + metadata + words (B,8+T,100) + positions -> 3 layers over all positions -> 1 layer whose queries are the CLS
    -> flatten (B,800) -> ELU -> pooler Linear 800 -> ELU -> Linear to the labels, with two hypernymy regularisers

It is BertXML in other sizes (bertxml.py), read by a decoder with the regularisers (decoders/hierarchical.py).
* Metadata are tokens before the text, within its length: `dataset.metadata=[venue,author,reference]` for MATCH's own
  files (on by itself for this encoder on magcs and pubmed), `dataset.metadata_columns` for tables. A document without
  metadata has none.
* Words, metadata and labels are embedded jointly before training: `embedding=joint embedding.size=100`. Labels and what
  a document holds predict each other as in the paper, by word2vec's objective and without the paper's unit sphere.
* The hierarchy is the corpus': taxonomy.txt, label_parents.tsv, EuroVoc's.
Ablations: `dataset.metadata=[]`; `embedding=random`; `encoder.parameter_weight=0 encoder.output_weight=0`.

`variant=fixed` is what the paper describes. `authors` is the released code: no layer normalisation, Xavier weights in
place of the word vectors that were trained before; with both weights 0 it is what that code trains, as its regularisers
have no gradient.
"""

from __future__ import annotations

from typing import Literal

from xmtc.bounds import Count, NotNegative, Share
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.hierarchical import HierarchicalDecoder
from xmtc.encoders.bertxml import BertXML


class MATCH(BertXML):
    """features: (B, bottleneck), by default (B, cls x D). parameter_weight, output_weight: of the regularisers, see
    `HierarchicalDecoder`. reduction: that of the recipe's loss, which they are added to. The others: `BertXML`."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        variant: Literal["authors", "fixed"] = "fixed",
        layers: Count = 4,
        heads: Count = 2,
        feedforward: Count = 400,
        cls: Count = 8,
        bottleneck: Count | None = None,
        dropout: Share = 0.1,
        max_length: Count = 500,
        parameter_weight: NotNegative | None = None,
        output_weight: NotNegative | None = None,
        reduction: Literal["mean", "label_sum"] = "mean",
    ):
        super().__init__(
            vocabulary, text, embedding, variant, layers, heads, feedforward, cls, bottleneck, dropout, max_length
        )
        self.term_weights, self.reduction = (parameter_weight, output_weight), reduction

    def make_decoder(self, num_labels: int) -> HierarchicalDecoder:
        return HierarchicalDecoder(self.size, num_labels, *self.term_weights, per_label=self.reduction == "label_sum")
