"""The command that makes a bundle of a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common import extra
from ..console import report

if TYPE_CHECKING:
    pass
from ..exporting import CALIBRATION, add_bundle, add_calibration, quantizer
from ..values import numbers


def export(checkpoint: Path, bundle: Path, int8: bool, overwrite: bool, **options: Any) -> None:
    """Turn a checkpoint into a bundle."""
    from ...errors import InputError

    with extra("export"):
        from ...export import export_bundle
        from ...export.publish import check_target, scratch
    calibration = {name: options.pop(name) for name in CALIBRATION}
    if not int8:
        print(export_bundle(checkpoint, bundle, overwrite=overwrite, report=report, **options).describe())
        return
    if options["precision"] != "float32":
        raise InputError(f"int8 is made from a float32 graph, not from {options['precision']}; leave out the precision")
    quantize = quantizer(**calibration)
    check_target(bundle, overwrite)
    with scratch(bundle) as folder:
        exported = export_bundle(checkpoint, folder / bundle.name, report=report, **options)
        print(quantize(exported.folder, bundle, overwrite).describe())


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("export", help="turn a checkpoint into a bundle", description=export.__doc__)
    parser.set_defaults(command=export)
    parser.add_argument(
        "checkpoint", type=Path, help="a diffusers folder or a .safetensors file of Stable Diffusion 1.x, 2.x or XL"
    )
    add_bundle(parser)
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="a tokenizer's folder (the checkpoint's own; of a .safetensors file CLIP's)",
    )
    parser.add_argument(
        "--adapters",
        nargs="+",
        default=(),
        metavar="KIND",
        help="have the U-Net take ControlNets (control), image prompts (image), guidance by perturbed attention "
        "(perturbed)",
    )
    parser.add_argument("--prediction-type", help="epsilon, v_prediction or sample, where the checkpoint does not say")
    parser.add_argument(
        "--zero-snr",
        action=argparse.BooleanOptionalAction,
        help="the noise schedule ends at zero terminal SNR (what the checkpoint says)",
    )
    parser.add_argument(
        "--vae",
        type=Path,
        metavar="PATH",
        help="another VAE than the checkpoint's, or one that it lacks: a diffusers folder, also of a tiny "
        "autoencoder, or a .safetensors file",
    )
    parser.add_argument(
        "--distilled",
        metavar="METHOD",
        help="the model was distilled for few steps: turbo, lightning, hyper, lcm or tcd, which settles its sampler, "
        "schedule, steps and guidance",
    )
    parser.add_argument(
        "--default",
        dest="defaults",
        metavar="[USE.]NAME=VALUE",
        action="append",
        default=[],
        help="what users get who say nothing: steps, guidance_scale or strength, of all uses or of img2img, inpaint, "
        "outpaint or upscale, such as guidance_scale=3 or upscale.strength=0.2; may be repeated",
    )
    parser.add_argument(
        "--lora",
        action="store_true",
        help="have it take LoRAs, which may differ from picture to picture: second graphs, which share weights",
    )
    parser.add_argument(
        "--merge-lora",
        metavar="FILE[:W]",
        action="append",
        default=[],
        help="a LoRA, LoCon, LoHa or LoKr that the weights get for good, FILE.safetensors:0.8; may be repeated",
    )
    parser.add_argument(
        "--freeu",
        type=numbers,
        metavar="B1,B2,S1,S2",
        help="bake FreeU in: factors of the features and of the skip connections' low frequencies in the first two up "
        "blocks, such as 1.5,1.6,0.9,0.2",
    )
    parser.add_argument(
        "--deep-cache",
        action="store_true",
        help="have it reuse deep features, for --cache deep: a second, shallow graph of the denoiser",
    )
    parser.add_argument("--int8", action="store_true", help="quantise it afterwards, as `quantize` does")
    add_calibration(parser)
