import pytest
import torch

from samplerbench import UserError
from samplerbench.models.networks.unet2d import UNet2D

from ..formats.conftest import small_unet

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' own deprecations

CONFIG = {
    "sample_size": [8, 16],
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [32, 32],
    "layers_per_block": 1,
    "norm_num_groups": 8,  # with one channel a group the norm would take the label away
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}


def test_x_and_label_give_a_tensor():
    network = UNet2D(CONFIG).eval()
    assert network.sample_shape == (1, 8, 16)
    x, labels = torch.randn(3, 1, 8, 16), torch.tensor([0.0, 10.5, 999.0])
    with torch.no_grad():
        out = network(x, labels)
        assert out.shape == x.shape
        assert torch.allclose(network(x[1:2], labels[1:2]), out[1:2], atol=1e-5)
        assert not torch.allclose(network(x, labels.flip(0)), out, atol=1e-4)


def test_its_weights_are_diffusers_own():
    unet = small_unet()
    network = UNet2D({name: value for name, value in unet.config.items() if not name.startswith("_")})
    network.unet.load_state_dict(unet.state_dict(), strict=True)
    network.eval()
    x, labels = torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    with torch.no_grad():
        assert torch.equal(network(x, labels.float()), unet(x, labels).sample)


def test_a_table_of_times_is_read_at_whole_labels():
    network = UNet2D(CONFIG | {"time_embedding_type": "learned", "num_train_timesteps": 10}).eval()
    x = torch.randn(1, 1, 8, 16)
    with torch.no_grad():
        assert torch.equal(network(x, torch.tensor([3.9999])), network(x, torch.tensor([4.0])))


def test_a_config_that_makes_none():
    with pytest.raises(UserError, match="unknown field of the U-Net's config 'layers_per_blocks'; did you mean"):
        UNet2D(CONFIG | {"layers_per_blocks": 1})
    with pytest.raises(UserError, match="makes no UNet2DModel: ValueError"):
        UNet2D(CONFIG | {"down_block_types": ["DownBlock2D"]})
    with pytest.raises(UserError, match="sample_size"):
        UNet2D({name: value for name, value in CONFIG.items() if name != "sample_size"})
