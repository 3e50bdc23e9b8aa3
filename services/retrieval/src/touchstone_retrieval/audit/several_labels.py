"""How many images are kept for more than one class."""

from touchstone_contracts.label_card import SeveralLabels

from touchstone_retrieval.audit.audited import Audited


def measure_several_labels(audited: Audited) -> SeveralLabels:
    classes: dict[str, set[int]] = {}
    for image, label in zip(audited.image_ids, audited.class_ids.tolist(), strict=True):
        classes.setdefault(image, set()).add(label)
    return SeveralLabels(images=len(classes), several=sum(len(found) > 1 for found in classes.values()))
