"""torch-fidelity's feature extractors, each by its name there, registered through the same hook as anyone's.

Images are resized inside them as TensorFlow 1 did, bilinearly and without antialiasing, from whatever size they have.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import UserError, one_line
from ..files import content_key, sha256_of_all
from ..hookspecs import hookimpl
from .extractor import Extractor

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CLIP", "VGG16", "DINOv2", "InceptionV3", "TorchFidelity"]


class TorchFidelity(Extractor):
    """One of torch-fidelity's extractors. Nothing of torch-fidelity is used but the network and its preprocessing: not
    its cache, which goes by names, nor its `float64`, which is float32.

    Class attributes:
        theirs: its name in torch-fidelity where that is another.
        classes: the layer of its logits; '' where it has none.
    """

    takes = (3, None, None)
    theirs: ClassVar[str] = ""
    classes: ClassVar[str] = ""

    def load(self, weights: Path | None, device: str) -> None:
        from torch_fidelity.utils import create_feature_extractor

        wanted = list(dict.fromkeys(filter(None, [self.layer, self.classes])))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch's own deprecations
                network = create_feature_extractor(
                    self.theirs or self.name,
                    wanted,
                    cuda=False,
                    verbose=False,
                    feature_extractor_weights_path=self.source(weights),
                )
        except UserError:
            raise
        except Exception as error:
            why = textwrap.shorten(one_line(error), 200, placeholder=" …")  # torch lists every key that is missing
            if weights is not None:
                raise UserError(f"extractor '{self.name}': no usable weights in {weights} ({why})") from None
            what = f"extractor '{self.name}': its weights could not be loaded or downloaded ({why})"
            raise UserError(f"{what}; {self.expected()}") from None
        self.network: Any = network.to(device)

    def source(self, weights: Path | None) -> object:
        """What torch-fidelity is given as a file of weights; None where it is to download them."""
        return None if weights is None else str(weights)

    def expected(self) -> str:
        """Where the weights are expected, in words."""
        raise NotImplementedError

    def __call__(self, images: Tensor) -> Tensor:
        return self.with_logits(images)[0]

    def with_logits(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        layers = dict(zip(self.network.features_list, self.network(images), strict=True))
        return layers[self.layer], layers.get(self.classes)


def _checkpoints() -> Path:
    """Where torch keeps what it downloads."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


class StateDict(TorchFidelity):
    """One whose weights are a plain state dict, read without running what a pickle may hold."""

    def url(self) -> str:
        """Where the weights are downloaded from; the file's name ends with the start of its sha256."""
        raise NotImplementedError

    def source(self, weights: Path | None) -> object:
        import torch

        if weights is None:
            state = torch.hub.load_state_dict_from_url(
                self.url(), map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        file = io.BytesIO()
        torch.save(self.completed(state), file)
        file.seek(0)
        return file

    def completed(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state dict with what files may lack."""
        return state

    def expected(self) -> str:
        file = _checkpoints() / self.url().rpartition("/")[2]
        return f"expected is {file}, or give a file with --extractor-weights FILE"


class InceptionV3(StateDict):
    """The FID Inception. A file without its last layer `fc`, or with zeros there, gives features and no logits."""

    name = "inception-v3-compat"
    about = "2,048 pool features of the FID Inception network (2015-12-05); resizes to 299×299"
    paper = "Heusel et al. 2017, arXiv:1706.08500"
    layers = ("2048", "64", "192", "768", "logits_unbiased", "logits")
    classes = "logits_unbiased"

    @property
    def dimension(self) -> int:
        return 1008 if self.layer.startswith("logits") else int(self.layer)

    def load(self, weights: Path | None, device: str) -> None:
        super().load(weights, device)
        if not self._classifies and self.layer.startswith("logits"):
            raise UserError(f"extractor '{self.name}': {weights} has no last layer, so there is no layer={self.layer}")

    def url(self) -> str:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

        return str(URL_INCEPTION_V3)

    def completed(self, state: dict[str, Any]) -> dict[str, Any]:
        import torch

        if "fc.weight" in state or "fc.bias" in state:
            return state
        return state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}

    @cached_property
    def _classifies(self) -> bool:
        return bool(self.network.fc.weight.any())

    def with_logits(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        features, logits = super().with_logits(images)
        return features, logits if self._classifies else None

    def logits_of(self, features: Tensor) -> Tensor | None:
        if self.layer != "2048" or not self._classifies:
            return None
        logits: Tensor = features.mm(self.network.fc.weight.T)
        return logits


class VGG16(StateDict):
    name = "vgg16"
    about = "4,096 features of VGG16 (ImageNet), those of improved precision and recall; resizes to 224×224"
    paper = "Kynkäänniemi et al. 2019, arXiv:1904.06991"
    layers = ("fc2_relu", "fc2")
    dimension = 4096

    def url(self) -> str:
        from torchvision.models import VGG16_Weights

        return str(VGG16_Weights.IMAGENET1K_V1.url)


class CLIP(TorchFidelity):
    """CLIP's image encoder. torch-fidelity builds whatever network a file holds, whatever its name; here a file of
    another one is refused.

    Class attributes:
        side: the resolution that images are resized to. patch: the side of a patch; None for a ResNet.
    """

    layers = ("clip",)
    directions = True
    paper = "Kynkäänniemi et al. 2023, arXiv:2203.06026"
    side: ClassVar[int]
    patch: ClassVar[int | None]

    def load(self, weights: Path | None, device: str) -> None:
        super().load(weights, device)
        visual = self.network.model.visual
        patch = None if hasattr(visual, "layer1") else visual.conv1.kernel_size[0]
        found = visual.output_dim, visual.input_resolution, patch
        if found != (self.dimension, self.side, self.patch):
            raise UserError(
                f"extractor '{self.name}': {weights} is another network, of {found[0]} features, {found[1]}×{found[1]} "
                f"pixels and {'no patches' if patch is None else f'patches of {patch}'}"
            )

    def expected(self) -> str:
        from torch_fidelity.feature_extractor_clip import MODEL_METADATA

        name = self.theirs or self.name
        file = _checkpoints() / f"{name}-{MODEL_METADATA[name]['hash']}.pt"
        return f"expected is {file}, or give a file with --extractor-weights FILE"


class DINOv2(TorchFidelity):
    """DINOv2. Network and weights come from torch.hub, the network as code, which is why it counts like weights."""

    layers = ("dinov2",)
    paper = "Stein et al. 2023, arXiv:2306.04675"

    def load(self, weights: Path | None, device: str) -> None:
        if weights is not None:
            raise UserError(
                f"extractor '{self.name}': torch-fidelity takes no file of its weights; leave out --extractor-weights; "
                + self.expected()
            )
        super().load(weights, device)
        code = {name: digest for name, digest in sha256_of_all(self._hub()).items() if name.endswith(".py")}
        self.hub_sha256 = content_key(code)

    def _hub(self) -> Path:
        return _checkpoints().parent / "facebookresearch_dinov2_main"

    def expected(self) -> str:
        from torch_fidelity.feature_extractor_dinov2 import MODEL_METADATA

        file = _checkpoints() / f"{MODEL_METADATA[self.theirs or self.name]}_pretrain.pth"
        return f"expected are the repository in {self._hub()} and the file {file}"


CLIPS: dict[str, tuple[int, int, int | None]] = {  # features, resolution, patch
    "clip-rn50": (1024, 224, None),
    "clip-rn101": (512, 224, None),
    "clip-rn50x4": (640, 288, None),
    "clip-rn50x16": (768, 384, None),
    "clip-rn50x64": (1024, 448, None),
    "clip-vit-b-32": (512, 224, 32),
    "clip-vit-b-16": (512, 224, 16),
    "clip-vit-l-14": (768, 224, 14),
    "clip-vit-l-14-336px": (768, 336, 14),
}
DINOS = {"dinov2-vit-s-14": 384, "dinov2-vit-b-14": 768, "dinov2-vit-l-14": 1024, "dinov2-vit-g-14": 1536}


def _named() -> list[type[Extractor]]:
    """A class a name."""
    made: list[type[Extractor]] = [InceptionV3, VGG16]
    for name, (dimension, side, patch) in CLIPS.items():
        about = f"{dimension:,} features of CLIP's image encoder; resizes to {side}×{side}"
        own: dict[str, Any] = {"name": name, "about": about, "dimension": dimension, "side": side, "patch": patch}
        made.append(type(name, (CLIP,), own))
    for name, dimension in DINOS.items():
        about = f"{dimension:,} features of DINOv2, for FD-DINOv2; resizes to 224×224"
        made.append(type(name, (DINOv2,), {"name": name, "about": about, "dimension": dimension}))
    return made


@hookimpl
def samplerbench_extractors(register):  # type: ignore[no-untyped-def]
    for extractor in _named():
        register(extractor)
