"""NaN and infinity in what a model makes: found at once on the host, on a GPU where its work is waited for anyway."""

from __future__ import annotations

from collections.abc import Callable

from ..bundles.tensor import Array
from ..engines.arrays import device_of, namespace_of
from ..errors import ModelOutputError

_VAE = "try a bundle exported in float32, or a checkpoint whose VAE is made for float16"
_ADVICE = {
    "text_encoder": "the bundle's weights or precision are at fault",
    "image_encoder": "the image-prompt adapter's weights or its precision are at fault",
    "image_projection": "the image-prompt adapter's weights or its precision are at fault",
    "vae_encoder": _VAE,
    "vae_decoder": _VAE,
    "the upscaler": "export it with precision float32",
}


def is_finite(array: Array) -> bool:
    """Whether all values of an array are finite; waits for the device."""
    return bool(namespace_of(array).isfinite(array).all())


def check(component: str, *arrays: Array) -> None:
    """Raise `ModelOutputError` where an array that a component made is not finite; waits for the device."""
    for array in arrays:
        if not is_finite(array):
            raise ModelOutputError(f"{component} returned NaN or infinity; {_ADVICE[component]}")


def check_host(component: str, *arrays: Array) -> None:
    """The same of arrays on the host; those of a device are left to who waits for what becomes of them."""
    if all(device_of(array) == "cpu" for array in arrays):
        check(component, *arrays)


def ahead(component: str, array: Array) -> Callable[[], None]:
    """The same of an array on the host; of one on a device, when what is returned is called, which waits for it."""
    if device_of(array) == "cpu":
        check(component, array)
        return lambda: None
    finite = namespace_of(array).isfinite(array).all()
    return lambda: None if finite else check(component, array)
