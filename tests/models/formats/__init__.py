from samplerbench.models.formats.builtin import FORMATS
from samplerbench.models.formats.format import Checkpoint


def understand(spec: str) -> Checkpoint:
    """What the one format that recognises a model reads of it."""
    (form,) = [form for form in FORMATS if form.recognises(spec)]
    return form.load(spec)
