"""The small run that the harnesses kill, starve and resume; no import, so that a harness of commands starts at once."""

TRAINING = (
    "dataset=toy", "dataset.source.train=160", "dataset.source.validation=40", "dataset.source.test=41", "logger=csv",
    "embedding.size=16", "prepare_workers=1", "encoder=bow", "head=lcenet", "encoder.embedding.size=16", "head.rank=4",
    "data.batch_size=16", "recipe.max_epochs=3", "recipe.validation.interval=7", "recipe.validation.epochs=null",
    "checkpoints.steps=1",
    "+recipe.averaging={_target_: xmtc.training.averaging.RunningMean, start_epoch: 1, every: 2}",
    "+recipe.clipping={_target_: xmtc.training.clipping.AdaptiveClipping}",
)  # fmt: skip
